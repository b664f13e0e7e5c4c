package kubeadm

import (
	"fmt"

	"sigs.k8s.io/yaml"
)

// DiscoveryServers returns the servers that a kubeconfig names, which `kubeadm join` takes as the
// cluster's where a JoinConfiguration has discovery.file.
func DiscoveryServers(kubeconfig []byte) ([]string, error) {
	var content struct {
		Clusters []struct {
			Cluster struct {
				Server string `json:"server"`
			} `json:"cluster"`
		} `json:"clusters"`
	}
	if err := yaml.Unmarshal(kubeconfig, &content); err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	var servers []string
	for _, c := range content.Clusters {
		servers = append(servers, c.Cluster.Server)
	}
	return servers, nil
}
