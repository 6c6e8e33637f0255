package natstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// useTLS creates a CA and the certificates that it signs.
func (s *setup) useTLS(tb testing.TB, mutual bool) {
	tb.Helper()
	file := func(name string) string { return filepath.Join(s.dir, name) }
	s.scheme, s.CA = "tls", file("ca.pem")
	ca := &x509.Certificate{
		Subject: pkix.Name{CommonName: "natstest authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	caKey := certify(tb, ca, nil, nil, s.CA, "")
	server := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "natstest server"},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	certify(tb, server, ca, caKey, file("server.pem"), file("server.key"))
	verify := ""
	if mutual {
		s.ClientCert, s.ClientKey = file("client.pem"), file("client.key")
		client := &x509.Certificate{
			Subject:     pkix.Name{CommonName: "natstest client"},
			KeyUsage:    x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		certify(tb, client, ca, caKey, s.ClientCert, s.ClientKey)
		verify = fmt.Sprintf(", ca_file: %q, verify: true", s.CA)
	}
	s.extra = append(s.extra, fmt.Sprintf("tls { cert_file: %q, key_file: %q%s }", file("server.pem"), file("server.key"), verify))
}

// certify signs a certificate, with its own key if there is no parent, and writes it, and its key if that has a name.
func certify(tb testing.TB, cert, parent *x509.Certificate, parentKey *ecdsa.PrivateKey, certFile, keyFile string) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(tb, err)
	if parent == nil {
		parent, parentKey = cert, key
	}
	cert.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	must(tb, err)
	cert.NotBefore, cert.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, parentKey)
	must(tb, err)
	write(tb, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	if keyFile != "" {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		must(tb, err)
		write(tb, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	}
	return key
}

// useOperator creates an operator, its system account, and an account with JetStream and a user, and adds the accounts to
// the configuration of the servers.
func (s *setup) useOperator(tb testing.TB) {
	tb.Helper()
	operatorKey, operator := identity(tb, nkeys.CreateOperator)
	systemKey, system := identity(tb, nkeys.CreateAccount)
	accountKey, account := identity(tb, nkeys.CreateAccount)
	userKey, user := identity(tb, nkeys.CreateUser)
	_ = systemKey // not used for logins

	oc := jwt.NewOperatorClaims(operator)
	oc.Name, oc.SystemAccount = "natstest", system
	operatorJWT, err := oc.Encode(operatorKey)
	must(tb, err)
	sc := jwt.NewAccountClaims(system)
	sc.Name = "system"
	systemJWT, err := sc.Encode(operatorKey)
	must(tb, err)
	ac := jwt.NewAccountClaims(account)
	ac.Name = "gather"
	ac.Limits.DiskStorage, ac.Limits.MemoryStorage = jwt.NoLimit, jwt.NoLimit
	accountJWT, err := ac.Encode(operatorKey)
	must(tb, err)
	uc := jwt.NewUserClaims(user)
	uc.Name = "gather"
	userJWT, err := uc.Encode(accountKey)
	must(tb, err)
	seed, err := userKey.Seed()
	must(tb, err)
	creds, err := jwt.FormatUserConfig(userJWT, seed)
	must(tb, err)

	s.Creds = filepath.Join(s.dir, "gather.creds")
	write(tb, s.Creds, string(creds))
	s.extra = append(s.extra, fmt.Sprintf("operator: %q\nsystem_account: %q\nresolver: MEMORY\nresolver_preload { %s: %q, %s: %q }",
		operatorJWT, system, system, systemJWT, account, accountJWT))
}

// identity makes a key and returns its public half as well.
func identity(tb testing.TB, create func() (nkeys.KeyPair, error)) (key nkeys.KeyPair, public string) {
	tb.Helper()
	key, err := create()
	must(tb, err)
	public, err = key.PublicKey()
	must(tb, err)
	return key, public
}
