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

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/test/lab/netlab"
)

// serviceAccountDir has token and CA of a pod's ServiceAccount. /var/run is /run.
const serviceAccountDir = "/run/secrets/kubernetes.io/serviceaccount"

// RunInCluster starts the executable as the kubelet starts the pod of a DaemonSet's manifest: with
// token and CA of the pod's ServiceAccount, which must exist, and with an empty /run.
func (n *Node) RunInCluster(ctx context.Context, path string, manifest []byte) (*Agent, error) {
	cmd, err := n.InCluster(ctx, path, manifest)
	if err != nil {
		return nil, err
	}
	return n.RunAgent(cmd)
}

// InCluster returns the command of RunInCluster, for another command in the same container.
func (n *Node) InCluster(ctx context.Context, path string, manifest []byte) (netlab.Command,
	error) {
	pod, err := podOf(manifest)
	if err != nil {
		return netlab.Command{}, err
	}
	args, env, err := ArgsFromManifest(manifest, n.Name)
	if err != nil {
		return netlab.Command{}, err
	}
	dir, err := n.writeServiceAccount(ctx, pod.Namespace, pod.Spec.ServiceAccountName)
	if err != nil {
		return netlab.Command{}, err
	}
	cmd := n.kvipCommand(path, args, env)
	cmd.Tmpfs = append(cmd.Tmpfs, "/run")
	cmd.Mounts[serviceAccountDir] = dir
	return cmd, nil
}

// writeServiceAccount requests a token, as the kubelet does, and writes it with the CA.
func (n *Node) writeServiceAccount(ctx context.Context, namespace, name string) (dir string,
	err error) {
	kube, err := n.c.Kube(n.server())
	if err != nil {
		return "", err
	}
	request, err := kube.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name,
		&authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("request token of ServiceAccount %s/%s: %w", namespace, name, err)
	}
	dir = filepath.Join(n.Host.Dir, "serviceaccount")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("create directory of ServiceAccount: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte(request.Status.Token),
		0o600); err != nil {
		return "", fmt.Errorf("write token: %w", err)
	}
	return dir, copyFile(filepath.Join(dir, "ca.crt"), n.server().kubernetes("pki/ca.crt"))
}

// issuer is the --service-account-issuer of the API servers.
const issuer = "https://kubernetes.default.svc.cluster.local"

// otherKey is the name of the key pair of APIOptions.OtherKey.
const otherKey = "other-sa"

func (o APIOptions) key() string {
	if o.OtherKey {
		return otherKey
	}
	return "sa"
}

// writeOtherKey creates the key pair of APIOptions.OtherKey, the same for all nodes.
func (n *Node) writeOtherKey() error {
	first := n.c.Nodes[0]
	if _, err := os.Stat(first.kubernetes("pki/" + otherKey + ".key")); err != nil {
		if err := first.makeKey(); err != nil {
			return fmt.Errorf("create another key for tokens: %w", err)
		}
	}
	for _, end := range []string{".key", ".pub"} {
		if n == first {
			break
		}
		if err := copyFile(n.kubernetes("pki/"+otherKey+end),
			first.kubernetes("pki/"+otherKey+end)); err != nil {
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
		os.WriteFile(path+".key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}),
			0o600),
		os.WriteFile(path+".pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}),
			0o600),
	)
}

// WriteOldToken writes a valid token of a ServiceAccount in kube-system, which must exist, into the
// node's State, as if kvip had received it at that age.
func (n *Node) WriteOldToken(ctx context.Context, name string, age, left time.Duration) error {
	kube, err := n.c.Kube(n)
	if err != nil {
		return err
	}
	account, err := kube.CoreV1().ServiceAccounts(metav1.NamespaceSystem).Get(ctx, name,
		metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read ServiceAccount: %w", err)
	}
	now := time.Now()
	text, err := n.signToken(map[string]any{
		"iss": issuer, "aud": []string{issuer}, "sub": "system:serviceaccount:kube-system:" + name,
		"iat": now.Add(-age).Unix(), "nbf": now.Add(-age).Unix(), "exp": now.Add(left).Unix(),
		"kubernetes.io": map[string]any{"namespace": "kube-system",
			"serviceaccount": map[string]any{"name": name, "uid": account.UID}},
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

// signToken returns a JSON Web Token (RFC 7519) signed with ES256 (RFC 7518, section 3.4).
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
