package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// makeImage writes an image with one layer.
func makeImage(o *options, notes io.Writer) (string, error) {
	entries, err := collect(o.inputs, notes)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil {
		return "", err
	}
	file, err := os.CreateTemp(filepath.Dir(o.out), ".layer-")
	if err != nil {
		return "", err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	l, err := writeLayer(file, entries, o.created)
	if err != nil {
		return "", err
	}
	a, err := imageArchive(o, l)
	if err != nil {
		return "", err
	}
	if err := a.write(o.out, o.created); err != nil {
		return "", fmt.Errorf("write archive %s: %w", o.out, err)
	}
	return report(o.out, o.platform.String(), a.root.Digest, total(entries), l.size), nil
}

// imageArchive describes the image around a layer, with everything that its archive holds.
func imageArchive(o *options, l *layer) (*archive, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1),
		types.OCIConfigJSON)
	created := v1.Time{Time: o.created}
	img, err := mutate.Append(img,
		mutate.Addendum{Layer: l, History: v1.History{Created: created, CreatedBy: "files"}})
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = o.platform.OS, o.platform.Architecture,
		o.platform.Variant
	config.Created, config.Config = created, o.config
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return nil, err
	}
	configJSON, err := img.RawConfigFile()
	if err != nil {
		return nil, err
	}
	manifest, err := img.RawManifest()
	if err != nil {
		return nil, err
	}
	root, configBlob := bytesBlob(manifest), bytesBlob(configJSON)
	a := &archive{
		names: o.names,
		root: v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: root.digest, Size: root.size,
			Platform: o.platform},
		blobs: []blob{root, configBlob, {digest: l.digest, size: l.size, open: l.Compressed}},
	}
	a.docker = []dockerImage{{Config: configBlob.path(), RepoTags: o.names,
		Layers: []string{a.blobs[2].path()}}}
	return a, nil
}

// total returns the bytes in all files.
func total(entries []entry) (bytes int64) {
	for _, e := range entries {
		if e.link == "" {
			bytes += e.size
		}
	}
	return bytes
}

// report is the line to print about an archive; sizes are in bytes.
func report(out, what string, digest v1.Hash, files, compressed int64) string {
	return fmt.Sprintf("%s  %s  %s  files %.1f MB, compressed %.1f MB", out, what, digest,
		float64(files)/1e6, float64(compressed)/1e6)
}
