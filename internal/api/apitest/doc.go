// Package apitest sends generated requests to a server and checks every response against the contract: Exercise.
package apitest
