package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The annotations of index.json by which tools know what an image is called.
const (
	refName        = "org.opencontainers.image.ref.name" // the tag alone; OCI image spec, annotations
	containerdName = "io.containerd.image.name"          // the full name
)

// blob is content under its hash.
type blob struct {
	digest v1.Hash
	size   int64
	open   func() (io.ReadCloser, error)
}

func (b blob) path() string { return "blobs/" + b.digest.Algorithm + "/" + b.digest.Hex }

// bytesBlob returns a blob of small content.
func bytesBlob(content []byte) blob {
	h := sha256.New()
	h.Write(content)
	return blob{sum(h), int64(len(content)),
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }}
}

// archive is an OCI layout as one tar file (OCI image spec, image-layout) and, if docker is set, a
// docker archive of the same blobs, as `docker save` writes them too.
type archive struct {
	names  []string
	root   v1.Descriptor // what each name means
	blobs  []blob
	docker []dockerImage
}

// dockerImage is one image in manifest.json of a docker archive.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// index returns index.json: the same descriptor once for each name.
func (a *archive) index() v1.IndexManifest {
	m := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for _, name := range a.names {
		d := a.root
		d.Annotations = map[string]string{containerdName: name,
			refName: name[strings.LastIndexByte(name, ':')+1:]}
		m.Manifests = append(m.Manifests, d)
	}
	return m
}

// write makes the file at path, or leaves what was there if that fails.
func (a *archive) write(path string, at time.Time) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".archive-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails after the rename
	defer file.Close()
	out := tar.NewWriter(file)
	if err := a.writeTo(out, at); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	if err := file.Chmod(0o644); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

func (a *archive) writeTo(out *tar.Writer, at time.Time) error {
	if err := writeJSON(out, "oci-layout", at,
		map[string]string{"imageLayoutVersion": "1.0.0"}); err != nil {
		return err
	}
	if err := writeJSON(out, "index.json", at, a.index()); err != nil {
		return err
	}
	if a.docker != nil {
		if err := writeJSON(out, "manifest.json", at, a.docker); err != nil {
			return err
		}
	}
	slices.SortFunc(a.blobs, func(x, y blob) int { return strings.Compare(x.path(), y.path()) })
	a.blobs = slices.CompactFunc(a.blobs, func(x, y blob) bool { return x.digest == y.digest })
	for _, b := range a.blobs {
		if err := b.writeTo(out, at); err != nil {
			return err
		}
	}
	return nil
}

func (b blob) writeTo(out *tar.Writer, at time.Time) error {
	content, err := b.open()
	if err != nil {
		return err
	}
	defer content.Close()
	if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: b.path(), Mode: 0o644,
		Size: b.size, ModTime: at}); err != nil {
		return err
	}
	_, err = io.Copy(out, content)
	return err
}

func writeJSON(out *tar.Writer, name string, at time.Time, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644,
		Size: int64(len(text)), ModTime: at}); err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}
