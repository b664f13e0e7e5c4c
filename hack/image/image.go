package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The annotations in index.json from which tools read the name of an image.
const (
	refName        = "org.opencontainers.image.ref.name" // the tag alone; OCI image spec, annotations
	containerdName = "io.containerd.image.name"          // the full name
)

// writeArchive writes the archive at o.out, an OCI layout in one tar file, and returns the line to
// print about it. If it fails, the file at o.out is as before.
func (o *options) writeArchive(warnings io.Writer) (string, error) {
	if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(filepath.Dir(o.out), ".image-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	dir, err := layout.Write(filepath.Join(work, "layout"), empty.Index)
	if err != nil {
		return "", err
	}
	var root v1.Descriptor
	var platforms string
	if o.join != nil {
		root, platforms, err = o.addIndex(dir)
	} else {
		root, err = o.addImage(dir, filepath.Join(work, "layer.tar.gz"), warnings)
		platforms = o.platform.String()
	}
	if err != nil {
		return "", err
	}
	for _, name := range o.names {
		root.Annotations = map[string]string{containerdName: name,
			refName: name[strings.LastIndexByte(name, ':')+1:]}
		if err := dir.AppendDescriptor(root); err != nil {
			return "", err
		}
	}
	size, err := pack(string(dir), filepath.Join(work, "archive"), o)
	if err != nil {
		return "", fmt.Errorf("write archive %s: %w", o.out, err)
	}
	return fmt.Sprintf("%s  %s  %s  %.1f MB", o.out, platforms, root.Digest, float64(size)/1e6), nil
}

// addImage adds the image with one layer to dir and returns its descriptor. It also makes the
// layout a docker archive of the same blobs, as `docker save` does. The library writes one format
// or the other, so manifest.json is written here.
func (o *options) addImage(dir layout.Path, layerFile string,
	warnings io.Writer) (root v1.Descriptor,
	err error) {
	entries, err := collect(o.inputs, warnings)
	if err != nil {
		return root, err
	}
	if err := writeFile(layerFile, func(file io.Writer) error {
		zip := gzip.NewWriter(file)
		return errors.Join(writeTar(zip, entries, o.created), zip.Close())
	}); err != nil {
		return root, err
	}
	img, err := o.image(layerFile)
	if err != nil {
		return root, err
	}
	if err := dir.WriteImage(img); err != nil {
		return root, err
	}
	m, err := img.Manifest()
	if err != nil {
		return root, err
	}
	docker, err := json.Marshal(tarball.Manifest{{Config: blobPath(m.Config.Digest),
		RepoTags: o.names, Layers: []string{blobPath(m.Layers[0].Digest)}}})
	if err != nil {
		return root, err
	}
	digest, errD := img.Digest()
	size, errS := img.Size()
	return v1.Descriptor{MediaType: m.MediaType, Digest: digest, Size: size, Platform: &o.platform},
		errors.Join(errD, errS, dir.WriteFile("manifest.json", docker, 0o644))
}

// image returns the image around one layer.
func (o *options) image(layerFile string) (v1.Image, error) {
	layer, err := tarball.LayerFromFile(layerFile, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	created := v1.Time{Time: o.created}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1),
		types.OCIConfigJSON)
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{OS: o.platform.OS,
		Architecture: o.platform.Architecture, Variant: o.platform.Variant, Created: created,
		Config: o.config, RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		return nil, err
	}
	return mutate.Append(img, mutate.Addendum{Layer: layer,
		History: v1.History{Created: created, CreatedBy: "files"}})
}

func blobPath(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// addIndex adds an index of the images in the archives o.join, each for another platform, to dir.
// It returns the descriptor and the platforms.
func (o *options) addIndex(dir layout.Path) (root v1.Descriptor, list string, err error) {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	var platforms []string
	for _, path := range o.join {
		image, err := readArchive(path, dir)
		if err != nil {
			return root, "", fmt.Errorf("read archive %s: %w", path, err)
		}
		platform := image.Platform.String()
		if slices.Contains(platforms, platform) {
			return root, "", fmt.Errorf("join archive %s: the index already has %s", path, platform)
		}
		platforms = append(platforms, platform)
		image.Annotations = nil // its names
		index.Manifests = append(index.Manifests, image)
	}
	text, err := json.Marshal(index)
	if err != nil {
		return root, "", err
	}
	digest, size, err := v1.SHA256(bytes.NewReader(text))
	if err != nil {
		return root, "", err
	}
	return v1.Descriptor{MediaType: index.MediaType, Digest: digest, Size: size},
		strings.Join(platforms, ","), dir.WriteBlob(digest, io.NopCloser(bytes.NewReader(text)))
}

// readArchive copies the blobs of an archive that addImage wrote to dir and returns its image.
func readArchive(path string, dir layout.Path) (v1.Descriptor, error) {
	file, err := os.Open(path)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer file.Close()
	var index v1.IndexManifest
	for in := tar.NewReader(file); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return v1.Descriptor{}, err
		}
		if header.Name == "index.json" {
			err = json.NewDecoder(in).Decode(&index)
		} else if digest, ok := strings.CutPrefix(header.Name, "blobs/sha256/"); ok {
			var hash v1.Hash
			if hash, err = v1.NewHash("sha256:" + digest); err == nil {
				err = dir.WriteBlob(hash, io.NopCloser(in))
			}
		}
		if err != nil {
			return v1.Descriptor{}, fmt.Errorf("%s: %w", header.Name, err)
		}
	}
	if len(index.Manifests) == 0 || index.Manifests[0].Platform == nil {
		return v1.Descriptor{}, errors.New("no image for one platform: make it with this program")
	}
	return index.Manifests[0], nil
}

// pack writes the files below dir to an archive, blobs last, moves it to o.out and returns its
// size.
func pack(dir, archive string, o *options) (int64, error) {
	entries, err := collect([]input{{dir, "/", -1}}, io.Discard)
	if err != nil {
		return 0, err
	}
	entries = slices.DeleteFunc(entries, func(e entry) bool { return e.kind == tar.TypeDir })
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Compare(strings.Count(a.name, "/"), strings.Count(b.name, "/"))
	})
	for i := range entries {
		entries[i].mode = 0o644 // the library's files have the umask of this process
	}
	if err := writeFile(archive, func(file io.Writer) error {
		return writeTar(file, entries, o.created)
	}); err != nil {
		return 0, err
	}
	info, err := os.Stat(archive)
	if err != nil {
		return 0, err
	}
	return info.Size(), os.Rename(archive, o.out)
}

// writeFile creates a file that all users may read, with what write sends it.
func writeFile(path string, write func(io.Writer) error) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Chmod(0o644), file.Close())
}
