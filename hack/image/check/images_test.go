package check

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// limit is the maximum size of an unpacked image in bytes.
const limit = 40e6

// images has the ELF machine of each architecture.
var images = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// imageDir returns the directory with the images.
func imageDir(t *testing.T, variable string) string {
	t.Helper()
	dir := os.Getenv(variable)
	if dir == "" {
		unavailable(t, "needs "+variable+
			", the directory with the images of `make image`; `make test` sets it")
	}
	return dir
}

// unavailable skips the test with a reason, or fails it in continuous integration.
func unavailable(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s; CI=true allows no skipped test", reason)
	}
	t.Skip(reason)
}

// image opens the image of one architecture.
func image(t *testing.T, arch string) v1.Image {
	t.Helper()
	img, err := tarball.ImageFromPath(filepath.Join(imageDir(t, "KVIP_IMAGES"), "kvip-"+arch+".tar"),
		nil)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// program returns the one file of an image, /kvip.
func program(t *testing.T, arch string) []byte {
	t.Helper()
	layers, err := image(t, arch).Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%s has %d layers, %v; want 1", arch, len(layers), err)
	}
	plain, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	in := tar.NewReader(plain)
	header, err := in.Next()
	if err != nil || header.Name != "kvip" || header.Typeflag != tar.TypeReg || header.Mode != 0o755 ||
		header.Uid != 0 || header.Gid != 0 {
		t.Fatalf("%s begins with %+v, %v; want the program", arch, header, err)
	}
	content, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	if next, err := in.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("%s holds %+v, %v besides the program", arch, next, err)
	}
	return content
}

// TestProgramIsStaticStrippedAndSmall reads the ELF headers. For arm64 there is no other test: the
// program of another architecture does not run here.
func TestProgramIsStaticStrippedAndSmall(t *testing.T) {
	for arch, machine := range images {
		content := program(t, arch)
		if len(content) > limit {
			t.Errorf("%s: %d bytes, more than %d", arch, len(content), int(limit))
		}
		file, err := elf.NewFile(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		if file.Machine != machine || file.Type != elf.ET_EXEC {
			t.Errorf("%s: machine %s, type %s", arch, file.Machine, file.Type)
		}
		for _, p := range file.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
				t.Errorf("%s: has %s, so it is not static", arch, p.Type)
			}
		}
		for _, s := range file.Sections {
			if s.Type == elf.SHT_SYMTAB || strings.Contains(s.Name, "debug") {
				t.Errorf("%s: has section %s, so it is not stripped", arch, s.Name)
			}
		}
		if wd, err := os.Getwd(); err != nil || bytes.Contains(content, []byte(filepath.Dir(wd))) {
			t.Errorf("%s: names the directory it was built in (%v)", arch, err)
		}
	}
}

func TestConfigurationAndLabels(t *testing.T) {
	for arch := range images {
		config, err := image(t, arch).ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		c := config.Config
		if config.OS != "linux" || config.Architecture != arch ||
			strings.Join(c.Entrypoint, " ") != "/kvip" || c.User != "" ||
			len(c.Cmd)+len(c.Env)+len(c.Volumes) > 0 {
			t.Errorf("%s: configuration %+v", arch, config)
		}
		const prefix = "org.opencontainers.image."
		for key, want := range map[string]string{"title": "kvip", "licenses": "Apache-2.0",
			"source": "https://github.com/kvip/kvip", "version": "", "revision": ""} {
			if got := c.Labels[prefix+key]; got == "" || want != "" && got != want {
				t.Errorf("%s: label %s is %q, want %q", arch, prefix+key, got, want)
			}
		}
		names, err := tarball.LoadManifest(func() (io.ReadCloser, error) {
			return os.Open(filepath.Join(imageDir(t, "KVIP_IMAGES"), "kvip-"+arch+".tar"))
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := strings.Join(names[0].RepoTags, " "), "localhost/kvip:"+
			c.Labels[prefix+"version"]+" localhost/kvip:latest"; got != want {
			t.Errorf("%s: names %s, want %s", arch, got, want)
		}
	}
}

// TestSecondBuildIsTheSame compares with images that were built from a copy of the sources in
// another directory.
func TestSecondBuildIsTheSame(t *testing.T) {
	first, again := imageDir(t, "KVIP_IMAGES"), imageDir(t, "KVIP_IMAGES_AGAIN")
	for _, name := range []string{"kvip-amd64.tar", "kvip-arm64.tar", "kvip.oci.tar"} {
		a, errA := os.ReadFile(filepath.Join(first, name))
		b, errB := os.ReadFile(filepath.Join(again, name))
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s differs when it is built again", name)
		}
	}
}
