package cluster

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// issuer is the API servers' --service-account-issuer.
const issuer = "https://kubernetes.default.svc.cluster.local"

// otherKey is the name of the key pair of APIOptions.OtherKey.
const otherKey = "other-sa"

func (o APIOptions) key() string {
	if o.OtherKey {
		return otherKey
	}
	return "sa"
}

// writeOtherKey makes the key pair of APIOptions.OtherKey, the same for all nodes.
func (n *Node) writeOtherKey() error {
	first := n.c.Nodes[0]
	if _, err := os.Stat(first.kubernetes("pki/" + otherKey + ".key")); err != nil {
		if err := first.makeKey(); err != nil {
			return fmt.Errorf("make another key for tokens: %w", err)
		}
	}
	for _, end := range []string{".key", ".pub"} {
		if n == first {
			break
		}
		if err := copyFile(n.kubernetes("pki/"+otherKey+end), first.kubernetes("pki/"+otherKey+end)); err != nil {
			return fmt.Errorf("copy key for tokens: %w", err)
		}
	}
	return nil
}

func (n *Node) makeKey() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	path := n.kubernetes("pki/" + otherKey)
	return errors.Join(
		os.WriteFile(path+".key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}), 0o600),
		os.WriteFile(path+".pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600),
	)
}

// WriteOldToken puts a token of a ServiceAccount in kube-system, which must exist, into the node's State,
// as if kvip had been given it some time ago: valid, and signed with the API servers' own key.
func (n *Node) WriteOldToken(ctx context.Context, name string, age, left time.Duration) error {
	kube, err := n.c.Kube(n)
	if err != nil {
		return err
	}
	account, err := kube.CoreV1().ServiceAccounts(metav1.NamespaceSystem).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read ServiceAccount: %w", err)
	}
	now := time.Now()
	text, err := n.signToken(map[string]any{
		"iss": issuer, "aud": []string{issuer}, "sub": "system:serviceaccount:kube-system:" + name,
		"iat": now.Add(-age).Unix(), "nbf": now.Add(-age).Unix(), "exp": now.Add(left).Unix(),
		"kubernetes.io": map[string]any{"namespace": "kube-system", "serviceaccount": map[string]any{"name": name, "uid": account.UID}},
	})
	if err != nil {
		return fmt.Errorf("sign token: %w", err)
	}
	if err := os.MkdirAll(n.State(), 0o700); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(n.State(), "token"), []byte(text), 0o600),
		copyFile(filepath.Join(n.State(), "ca.crt"), n.kubernetes("pki/ca.crt")))
}

// signToken makes a JSON Web Token (RFC 7519) signed with ES256 (RFC 7518, section 3.4).
func (n *Node) signToken(claims map[string]any) (string, error) {
	file, err := os.ReadFile(n.kubernetes("pki/sa.key"))
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(file)
	if block == nil {
		return "", errors.New("the key is not PEM")
	}
	var signer crypto.Signer
	if signer, err = parseKey(block.Bytes); err != nil {
		return "", err
	}
	key, ok := signer.(*ecdsa.PrivateKey)
	if !ok {
		return "", errors.New("the key is not ECDSA")
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + encode(payload)
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return "", err
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return text + "." + encode(signature), nil
}
