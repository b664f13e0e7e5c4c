package fakeapi

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"time"
)

// authority signs the certificates of one cluster.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
}

func newAuthority() (*authority, error) {
	a := &authority{}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "fakeapi"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	if a.pem, err = sign(template, template, a.key, a.key); err != nil {
		return nil, err
	}
	block, _ := pem.Decode(a.pem)
	a.cert, err = x509.ParseCertificate(block.Bytes)
	return a, err
}

// sign returns a PEM certificate of template for key, valid from an hour ago for 25 hours.
func sign(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// issue returns a new certificate and its key, both PEM.
func (a *authority) issue(template *x509.Certificate) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	if cert, err = sign(template, a.cert, private, a.key); err != nil {
		return nil, nil, err
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// servingConfig returns the TLS configuration of a server with a certificate for one name.
func (a *authority) servingConfig(name string) (*tls.Config, error) {
	cert, key, err := a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return nil, fmt.Errorf("issue serving certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("issue serving certificate: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool,
		ClientAuth: tls.VerifyClientCertIfGiven}, nil
}

// User is how a kubeconfig authenticates: by a token, or by a new client certificate with that
// common name.
type User struct {
	Token      string
	CommonName string
}

// CA returns the certificate of the cluster's authority, PEM.
func (s *Store) CA() []byte { return s.ca.pem }

// WriteKubeconfig writes a kubeconfig for a cluster at the URL server, which need not answer.
func (s *Store) WriteKubeconfig(path, server string, u User) error {
	user := object{}
	if u.Token != "" {
		user["token"] = u.Token
	}
	if u.CommonName != "" {
		cert, key, err := s.ca.issue(&x509.Certificate{Subject: pkix.Name{CommonName: u.CommonName},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if err != nil {
			return fmt.Errorf("issue client certificate: %w", err)
		}
		user["client-certificate-data"], user["client-key-data"] = cert, key // base64 in JSON
	}
	cluster := object{"server": server, "certificate-authority-data": s.ca.pem}
	text, err := json.Marshal(object{
		"apiVersion": "v1", "kind": "Config", "current-context": "fake",
		"clusters": []object{{"name": "fake", "cluster": cluster}},
		"users":    []object{{"name": "fake", "user": user}},
		"contexts": []object{{"name": "fake", "context": object{"cluster": "fake", "user": "fake"}}},
	})
	if err != nil {
		return fmt.Errorf("encode kubeconfig: %w", err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}
