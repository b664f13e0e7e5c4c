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

// options is one command line.
type options struct {
	out      string
	names    []string  // full, with registry and tag
	created  time.Time // of the image and of every file in it
	join     []string  // archives to join; nil when an image is made
	platform *v1.Platform
	inputs   []input
	config   v1.Config
}

// input is one --file.
type input struct {
	source string // path on this machine
	dest   string // clean absolute path in the image
	mode   int64  // permission bits, or -1: those of the source
}

// parse reads a command line; the flags are documented by their help texts.
func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}
	index := len(args) > 0 && args[0] == "index"
	if index {
		args = args[1:]
	}
	fs := flag.NewFlagSet("image", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are returned
	fs.StringVar(&o.out, "o", "", "write the archive to this `file`")
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
	fs.Func("platform", "`os/arch` of the image (default linux/amd64)", func(s string) (err error) {
		o.platform, err = v1.ParsePlatform(s)
		if err == nil && (o.platform.OS == "" || o.platform.Architecture == "") {
			err = errors.New("want os/arch")
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
		if o.config.Labels == nil {
			o.config.Labels = map[string]string{}
		}
		o.config.Labels[key] = value
		return nil
	})
	fs.Func("env", "`name=value` in the environment; may be repeated", func(s string) error {
		if key, _, found := strings.Cut(s, "="); !found || key == "" {
			return errors.New("want name=value")
		}
		o.config.Env = append(o.config.Env, s)
		return nil
	})
	fs.StringVar(&o.config.User, "user", "",
		"`uid:gid` that runs it (default: what runs the image decides)")
}

// check refuses command lines that can mean nothing; args is the number of arguments beside flags.
func (o *options) check(args int) error {
	switch {
	case o.out == "":
		return errors.New("say where to write the archive: -o FILE")
	case len(o.names) == 0:
		return errors.New("say what the image is called: --name REF")
	case o.join != nil && args == 0:
		return errors.New("name the archives to join")
	case o.join != nil && len(o.names) != 1:
		return errors.New("an index has one --name: not all tools can read more from one archive")
	case o.join == nil && args > 0:
		return errors.New("only index takes arguments beside flags; files are given as --file SRC:/DEST")
	case o.join == nil && len(o.inputs) == 0:
		return errors.New("say what is in the image: --file SRC:/DEST")
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
		registry = "docker.io" // what everything else calls it
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
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(s, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, fmt.Errorf("read SOURCE_DATE_EPOCH: %q is not a number of seconds since 1970",
			s)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
