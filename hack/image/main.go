// Command image makes container images FROM scratch out of files and directories, without a
// container engine and without a registry, and joins images of several platforms. The same files
// give the same bytes on every machine, at any time. It runs nothing inside an image, has no base
// images and pushes nothing.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// usage precedes the list of flags.
const usage = `image makes a container image FROM scratch:
  image -o OUT.tar --name REF --platform linux/amd64 --file SRC:/DEST[:MODE] ... [flags]

It writes an OCI layout that is also a docker archive: for docker load, ctr images import,
kind load image-archive, skopeo and crane. To join images of several platforms under one name:
  image index -o OUT.tar --name REF IN.tar IN.tar ...

A directory as SRC is copied with all below it. A later --file replaces an earlier one of the same
name. All files belong to 0:0 and have the time SOURCE_DATE_EPOCH (default 0).

`

// run executes one command line and returns its exit code: 0 done, 1 failed, 2 usage error.
func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		fmt.Fprintf(stderr, "image: %v\n", err)
		return 2
	}
	report, err := o.writeArchive(stderr)
	if err != nil {
		fmt.Fprintf(stderr, "image: %v\n", err)
		return 1
	}
	fmt.Fprintln(stdout, report)
	return 0
}

// options is one command line.
type options struct {
	out      string
	names    []string  // full, with registry and tag
	created  time.Time // of the image and of every file in it
	join     []string  // archives to join; nil for a single image
	platform v1.Platform
	inputs   []input
	config   v1.Config
}

// parse reads a command line. Help texts document the flags.
func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{platform: v1.Platform{OS: "linux", Architecture: "amd64"},
		config: v1.Config{Labels: map[string]string{}}}
	index := len(args) > 0 && args[0] == "index"
	if index {
		args = args[1:]
	}
	fs := flag.NewFlagSet("image", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are returned
	fs.StringVar(&o.out, "o", "", "archive `file` to write")
	fs.Func("name", "`name` with tag, as localhost/kvip:1; may be repeated, not with index", o.addName)
	if !index {
		o.imageFlags(fs)
	}
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stderr, usage)
		fs.SetOutput(stderr)
		fs.PrintDefaults()
		return nil, err
	} else if err != nil {
		return nil, err
	}
	if index {
		o.join = append([]string{}, fs.Args()...)
	}
	if err := o.check(fs.NArg()); err != nil {
		return nil, err
	}
	var err error
	o.created, err = epoch(os.Getenv("SOURCE_DATE_EPOCH"))
	return o, err
}

// imageFlags adds the flags that describe one image.
func (o *options) imageFlags(fs *flag.FlagSet) {
	fs.Func("platform", "`os/arch` of the image (default linux/amd64)", func(s string) error {
		p, err := v1.ParsePlatform(s)
		if err == nil && (p.OS == "" || p.Architecture == "") {
			err = errors.New("want os/arch")
		}
		if err == nil {
			o.platform = *p
		}
		return err
	})
	fs.Func("file", "`src:/dest[:mode]` of a file, or src:/dest of a directory; mode is octal; may "+
		"be repeated", o.addInput)
	fs.Func("entrypoint", "`argument` of the entry point; may be repeated", func(s string) error {
		o.config.Entrypoint = append(o.config.Entrypoint, s)
		return nil
	})
	fs.Func("label", "`key=value` as a label; may be repeated", func(s string) error {
		key, value, found := strings.Cut(s, "=")
		if !found || key == "" {
			return errors.New("want key=value")
		}
		o.config.Labels[key] = value
		return nil
	})
}

// check rejects incomplete command lines. args is the number of arguments that are not flags.
func (o *options) check(args int) error {
	switch {
	case o.out == "":
		return errors.New("-o FILE is required: the archive to write")
	case len(o.names) == 0:
		return errors.New("--name REF is required: the name of the image")
	case o.join != nil && args == 0:
		return errors.New("index needs the archives to join as arguments")
	case o.join != nil && len(o.names) != 1:
		return errors.New("index takes one --name: some tools read only one from an archive")
	case o.join == nil && args > 0:
		return errors.New("only index takes arguments: give files as --file SRC:/DEST")
	case o.join == nil && len(o.inputs) == 0:
		return errors.New("--file SRC:/DEST is required: the content of the image")
	}
	return nil
}

// addName adds a reference, in the full form that container runtimes use.
func (o *options) addName(ref string) error {
	tag, err := name.NewTag(ref)
	if err != nil {
		return err
	}
	if !strings.HasSuffix(ref, ":"+tag.TagStr()) {
		return errors.New("want a tag too, as in localhost/kvip:1")
	}
	registry := tag.RegistryStr()
	if registry == name.DefaultRegistry {
		registry = "docker.io" // as container runtimes call it
	}
	o.names = append(o.names, registry+"/"+tag.RepositoryStr()+":"+tag.TagStr())
	return nil
}

// addInput reads SRC:/DEST[:MODE].
func (o *options) addInput(s string) error {
	parts := strings.Split(s, ":")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || !path.IsAbs(parts[1]) {
		return errors.New("want SRC:/DEST or SRC:/DEST:MODE")
	}
	in := input{source: parts[0], dest: path.Clean(parts[1]), mode: -1}
	if len(parts) == 3 {
		mode, err := strconv.ParseUint(parts[2], 8, 12)
		if err != nil {
			return fmt.Errorf("mode %q is not octal: as in 0755", parts[2])
		}
		in.mode = int64(mode)
	}
	o.inputs = append(o.inputs, in)
	return nil
}

// epoch reads SOURCE_DATE_EPOCH: seconds since 1970.
func epoch(s string) (time.Time, error) {
	if s == "" {
		s = "0"
	}
	seconds, err := strconv.ParseUint(s, 10, 62)
	if err != nil {
		return time.Time{}, fmt.Errorf("read SOURCE_DATE_EPOCH: %q is not a number of seconds", s)
	}
	return time.Unix(int64(seconds), 0).UTC(), nil
}
