// Package apitest sends generated requests to a server and checks every answer against the contract: Exercise.
package apitest
