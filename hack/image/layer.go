package main

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layer is a compressed layer in a file. It implements v1.Layer.
type layer struct {
	path           string
	digest, diffID v1.Hash // of the compressed and the plain content
	size           int64   // compressed
}

// Digest returns the hash of the compressed content.
func (l *layer) Digest() (v1.Hash, error) { return l.digest, nil }

// DiffID returns the hash of the plain content.
func (l *layer) DiffID() (v1.Hash, error) { return l.diffID, nil }

// Size returns the length of the compressed content in bytes.
func (l *layer) Size() (int64, error) { return l.size, nil }

// MediaType says that it is a tar archive compressed by gzip.
func (l *layer) MediaType() (types.MediaType, error) { return types.OCILayer, nil }

// Compressed opens the content as it is stored.
func (l *layer) Compressed() (io.ReadCloser, error) { return os.Open(l.path) }

// Uncompressed opens the plain content. The caller closes it.
func (l *layer) Uncompressed() (io.ReadCloser, error) {
	file, err := os.Open(l.path)
	if err != nil {
		return nil, err
	}
	plain, err := gzip.NewReader(file)
	if err != nil {
		file.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{plain, file}, nil
}

// writeLayer streams the entries into file, in one pass.
func writeLayer(file *os.File, entries []entry, at time.Time) (*layer, error) {
	compressed, plain := sha256.New(), sha256.New()
	zip := gzip.NewWriter(io.MultiWriter(file, compressed))
	out := tar.NewWriter(io.MultiWriter(zip, plain))
	for _, e := range entries {
		if err := writeEntry(out, e, at); err != nil {
			return nil, fmt.Errorf("write /%s: %w", e.name, err)
		}
	}
	if err := out.Close(); err != nil {
		return nil, err
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	size, err := file.Seek(0, io.SeekCurrent)
	return &layer{path: file.Name(), digest: sum(compressed), diffID: sum(plain), size: size}, err
}

// writeEntry writes one entry: owner 0:0 without names, the given time, nothing else of this
// machine.
func writeEntry(out *tar.Writer, e entry, at time.Time) error {
	header := &tar.Header{Typeflag: e.kind, Name: e.name, Linkname: e.link, Mode: e.mode, ModTime: at}
	if e.kind == tar.TypeDir {
		header.Name += "/"
	}
	if e.kind != tar.TypeReg {
		return out.WriteHeader(header)
	}
	header.Size = e.size
	content, err := os.Open(e.source)
	if err != nil {
		return err
	}
	defer content.Close()
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	n, err := io.Copy(out, content)
	if err == nil && n < e.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("copy %s, %d of %d bytes: %w; did it change meanwhile?", e.source, n, e.size,
			err)
	}
	return nil
}

func sum(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}
