package kindcluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// FromEnv returns what kind/prepare.sh prepared and put into the environment; root is the
// project's directory. Name, Dir and what else a cluster needs is left to the caller. It returns an
// error that says how to prepare if nothing is.
func FromEnv(ctx context.Context, root string) (Config, error) {
	cfg := Config{
		Kind: os.Getenv("KVIP_KIND"), Image: os.Getenv("KVIP_NODE_IMAGE"),
		LocalImage: os.Getenv("KVIP_NODE_IMAGE_LOCAL") == "true",
		Kvip:       os.Getenv("KVIP_BINARY"), KvipArchive: os.Getenv("KVIP_IMAGE_ARCHIVE"),
		Template: filepath.Join(root, "kind", "ha.yaml"),
		Network:  filepath.Join(root, "kind", "node", "network.yaml"),
	}
	if cfg.Kind == "" || cfg.Image == "" || cfg.Kvip == "" || cfg.KvipArchive == "" {
		return cfg, fmt.Errorf(
			"nothing is prepared: KVIP_KIND, KVIP_NODE_IMAGE, KVIP_BINARY and KVIP_IMAGE_ARCHIVE come " +
				"from kind/prepare.sh, which sudo make test calls")
	}
	var err error
	if dir := os.Getenv("KVIP_DOCKER_DIR"); dir != "" {
		cfg.Engine, err = StartEngine(ctx, root, dir)
	} else {
		cfg.Engine, err = MachineEngine(ctx)
	}
	if err != nil {
		return cfg, err
	}
	cfg.KvipImage, err = imageOf(ctx, cfg)
	return cfg, err
}

// imageOf returns the image that the kvip command names by itself.
func imageOf(ctx context.Context, cfg Config) (string, error) {
	out, err := run(cfg.Engine.Command(ctx, cfg.Kvip, "manifest", "pod", "--vip", "192.0.2.1"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "image: "); ok {
			return name, nil
		}
	}
	return "", fmt.Errorf("%s manifest pod names no image", cfg.Kvip)
}
