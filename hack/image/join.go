package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// joinImages writes an index of the images in the archives o.join, each for another platform.
func joinImages(o *options) (string, error) {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	a := &archive{names: o.names}
	var platforms []string
	var size int64
	for _, in := range o.join {
		part, err := readArchive(in)
		if err != nil {
			return "", fmt.Errorf("read archive %s: %w", in, err)
		}
		platform := part.root.Platform.String()
		if slices.Contains(platforms, platform) {
			return "", fmt.Errorf("join archive %s: there is one for %s already", in, platform)
		}
		platforms = append(platforms, platform)
		index.Manifests = append(index.Manifests, part.root)
		a.blobs = append(a.blobs, part.blobs...)
	}
	text, err := json.Marshal(index)
	if err != nil {
		return "", err
	}
	for _, b := range a.blobs {
		size += b.size
	}
	root := bytesBlob(text)
	a.root = v1.Descriptor{MediaType: types.OCIImageIndex, Digest: root.digest, Size: root.size}
	a.blobs = append(a.blobs, root)
	if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil {
		return "", err
	}
	if err := a.write(o.out, o.created); err != nil {
		return "", fmt.Errorf("write archive %s: %w", o.out, err)
	}
	return fmt.Sprintf("%s  %s  %s  %.1f MB", o.out, strings.Join(platforms, ","), root.digest,
		float64(size)/1e6), nil
}

// readArchive reads what makeImage wrote: the descriptor of its image, without names, and the
// places of its blobs, without their content.
func readArchive(path string) (*archive, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	a := &archive{}
	var index v1.IndexManifest
	in := tar.NewReader(file)
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if hex, found := strings.CutPrefix(header.Name, "blobs/sha256/"); found {
			at, err := file.Seek(0, io.SeekCurrent) // tar reads no further than the header
			if err != nil {
				return nil, err
			}
			a.blobs = append(a.blobs, fileBlob(path, hex, at, header.Size))
		} else if header.Name == "index.json" {
			if err := json.NewDecoder(in).Decode(&index); err != nil {
				return nil, fmt.Errorf("read index.json: %w", err)
			}
		}
	}
	if len(index.Manifests) == 0 || index.Manifests[0].Platform == nil {
		return nil, errors.New("it holds no image for one platform: make it with this program")
	}
	a.root = index.Manifests[0]
	a.root.Annotations = nil
	return a, nil
}

// fileBlob returns a blob that is part of a file.
func fileBlob(path, hex string, at, size int64) blob {
	return blob{v1.Hash{Algorithm: "sha256", Hex: hex}, size, func() (io.ReadCloser, error) {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.NewSectionReader(file, at, size), file}, nil
	}}
}
