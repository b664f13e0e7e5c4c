package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// WriteKubeconfig writes a kubeconfig into the node's /etc/kubernetes, at once as a whole, with
// a fresh client certificate of the administrators' group that expires after the duration. As
// in kubeadm's files, the server is the VIP.
func (n *Node) WriteKubeconfig(name string, lasts time.Duration) error {
	ca, err := os.ReadFile(n.kubernetes("pki/ca.crt"))
	if err != nil {
		return fmt.Errorf("read CA: %w", err)
	}
	cert, key, err := n.sign(ca, lasts)
	if err != nil {
		return fmt.Errorf("sign client certificate: %w", err)
	}
	conf := clientcmdapi.NewConfig()
	conf.Clusters["lab"] = &clientcmdapi.Cluster{Server: fmt.Sprintf("https://%s:%d", VIP4, Port), CertificateAuthorityData: ca}
	conf.AuthInfos["lab"] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	conf.Contexts["lab"] = &clientcmdapi.Context{Cluster: "lab", AuthInfo: "lab"}
	conf.CurrentContext = "lab"
	part := n.kubernetes("." + name)
	if err := clientcmd.WriteToFile(*conf, part); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return os.Rename(part, n.kubernetes(name))
}

// RemoveKubeconfig removes what WriteKubeconfig wrote.
func (n *Node) RemoveKubeconfig(name string) error {
	return os.RemoveAll(n.kubernetes(filepath.Base(name)))
}

// sign makes a key and a certificate of it by the cluster's CA, both as PEM.
func (n *Node) sign(caPEM []byte, lasts time.Duration) (cert, key []byte, err error) {
	caKey, err := os.ReadFile(n.kubernetes("pki/ca.key"))
	if err != nil {
		return nil, nil, err
	}
	certBlock, _ := pem.Decode(caPEM)
	keyBlock, _ := pem.Decode(caKey)
	if certBlock == nil || keyBlock == nil {
		return nil, nil, errors.New("the CA is not PEM")
	}
	issuer, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, nil, err
	}
	signer, err := parseKey(keyBlock.Bytes)
	if err != nil {
		return nil, nil, err
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "kvip-lab", Organization: []string{administrators}},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lasts),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, own.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	private, err := x509.MarshalECPrivateKey(own)
	if err != nil {
		return nil, nil, err
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return cert, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}), nil
}

// parseKey reads a private key in the forms that kubeadm writes.
func parseKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	return x509.ParsePKCS1PrivateKey(der)
}
