package cluster

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm/v1beta4"
	"sigs.k8s.io/yaml"

	"github.com/kvip/kvip/test/lab/netlab"
)

// sharedFiles are copied by kubeadm from the first control-plane node to those that join.
var sharedFiles = []string{
	"pki/ca.crt", "pki/ca.key", "pki/sa.pub", "pki/sa.key", "pki/front-proxy-ca.crt",
	"pki/front-proxy-ca.key", "pki/etcd/ca.crt", "pki/etcd/ca.key",
}

// kubeadmConfig returns the configuration for `kubeadm init` on a node.
func kubeadmConfig(version string, h *netlab.Host) ([]byte, error) {
	api := metav1.TypeMeta{APIVersion: v1beta4.SchemeGroupVersion.String()}
	init := v1beta4.InitConfiguration{TypeMeta: api}
	init.Kind = "InitConfiguration"
	init.LocalAPIEndpoint = v1beta4.APIEndpoint{AdvertiseAddress: h.Addr(true).String(),
		BindPort: Port}
	init.NodeRegistration = v1beta4.NodeRegistrationOptions{
		Name: h.Name, CRISocket: "unix:///run/containerd/containerd.sock",
	}
	conf := v1beta4.ClusterConfiguration{TypeMeta: api, KubernetesVersion: version}
	conf.Kind = "ClusterConfiguration"
	conf.ControlPlaneEndpoint = fmt.Sprintf("%s:%d", VIP4, Port)
	conf.Networking.ServiceSubnet = serviceNet
	for _, vip := range []netip.Addr{VIP4, VIP6, RoutedVIP4, RoutedVIP6} {
		conf.APIServer.CertSANs = append(conf.APIServer.CertSANs, vip.String())
	}
	// Each new connection needs a signature, which costs a tenth of RSA's.
	conf.EncryptionAlgorithm = v1beta4.EncryptionAlgorithmECDSAP256
	conf.CertificatesDir = "/etc/kubernetes/pki"
	var docs [][]byte
	for _, doc := range []any{init, conf} {
		b, err := yaml.Marshal(doc)
		if err != nil {
			return nil, fmt.Errorf("encode kubeadm configuration: %w", err)
		}
		docs = append(docs, b)
	}
	return bytes.Join(docs, []byte("---\n")), nil
}

// createCertificates fills /etc/kubernetes of every node: from the cache if that has files of the
// same configuration that are valid for another week, else by kubeadm.
func (c *Cluster) createCertificates() error {
	confs := map[string][]byte{}
	key := sha256.New()
	for _, n := range c.Nodes {
		conf, err := kubeadmConfig(c.version, n.Host)
		if err != nil {
			return err
		}
		confs[n.Name] = conf
		key.Write(conf)
	}
	cached := filepath.Join(filepath.Dir(c.bin), fmt.Sprintf("certs-%x", key.Sum(nil)[:6]))
	if !validFor(cached, 7*24*time.Hour) {
		c.progress("kubeadm creates certificates and kubeconfigs")
		if err := c.runKubeadm(confs); err != nil {
			return err
		}
		return c.storeCerts(cached)
	}
	for _, n := range c.Nodes {
		if err := os.CopyFS(n.kubernetes(""), os.DirFS(filepath.Join(cached, n.Name))); err != nil {
			return fmt.Errorf("copy certificates (remove %s to create new ones): %w", cached, err)
		}
	}
	return nil
}

// validFor reports whether a cache of certificates is complete and valid for that long.
func validFor(cached string, left time.Duration) bool {
	b, err := os.ReadFile(filepath.Join(cached, "cp1/pki/apiserver.crt"))
	if err != nil {
		return false
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return false
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	return err == nil && time.Until(cert.NotAfter) > left
}

// runKubeadm creates each node's files in the node itself, the first node's first.
func (c *Cluster) runKubeadm(confs map[string][]byte) error {
	for i, n := range c.Nodes {
		if err := os.MkdirAll(n.kubernetes("pki/etcd"), 0o755); err != nil {
			return err
		}
		for _, file := range sharedFiles[:len(sharedFiles)*min(i, 1)] {
			if err := copyFile(n.kubernetes(file), c.Nodes[0].kubernetes(file)); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(n.Host.Etc, "kubeadm.yaml"), confs[n.Name],
			0o644); err != nil {
			return err
		}
		for _, phase := range []string{"certs", "kubeconfig"} {
			if err := n.kubeadm("init", "phase", phase, "all", "--config", "/etc/kubeadm.yaml"); err != nil {
				return err
			}
		}
		if i > 0 { // only `kubeadm init` writes it, not `kubeadm join`
			if err := os.Remove(n.kubernetes("super-admin.conf")); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *Node) kubeadm(args ...string) error {
	var out bytes.Buffer
	p, err := n.Host.Start(netlab.Command{Path: filepath.Join(n.c.bin, "kubeadm"), Args: args,
		Output: &out})
	if err != nil {
		return err
	}
	if err := p.Err(); err != nil {
		return fmt.Errorf("run kubeadm %v on %s: %w\n%s", args, n.Name, err, out.String())
	}
	return nil
}

// storeCerts copies kubeadm's files into the cache, with the owner of the cache.
func (c *Cluster) storeCerts(cached string) error {
	part := fmt.Sprintf("%s.%d", cached, os.Getpid())
	for _, n := range c.Nodes {
		if err := os.CopyFS(filepath.Join(part, n.Name), os.DirFS(n.kubernetes(""))); err != nil {
			return fmt.Errorf("cache certificates: %w", err)
		}
	}
	if err := chownLike(part, filepath.Dir(cached)); err != nil {
		return err
	}
	if err := os.RemoveAll(cached); err != nil {
		return err
	}
	if err := os.Rename(part, cached); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("cache certificates: %w", err)
	}
	return nil
}

// chownLike changes the owner of a tree to that of a directory, for the cache in a user's home.
func chownLike(dir, like string) error {
	info, err := os.Stat(like)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, int(owner.Uid), int(owner.Gid)))
	})
}

func copyFile(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

// WriteKubeconfig writes a kubeconfig atomically into the node's /etc/kubernetes, with a new client
// certificate of the administrators' group that is valid for the duration. As in kubeadm's files,
// the server is the VIP.
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
	conf.Clusters["lab"] = &clientcmdapi.Cluster{Server: fmt.Sprintf("https://%s:%d", VIP4, Port),
		CertificateAuthorityData: ca}
	conf.AuthInfos["lab"] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	conf.Contexts["lab"] = &clientcmdapi.Context{Cluster: "lab", AuthInfo: "lab"}
	conf.CurrentContext = "lab"
	part := n.kubernetes("." + name)
	if err := clientcmd.WriteToFile(*conf, part); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return os.Rename(part, n.kubernetes(name))
}

// RemoveKubeconfig removes a file of WriteKubeconfig.
func (n *Node) RemoveKubeconfig(name string) error {
	return os.RemoveAll(n.kubernetes(filepath.Base(name)))
}

// sign creates a key and its certificate by the cluster's CA, both as PEM.
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
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
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
