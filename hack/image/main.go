// Command image makes container images FROM scratch out of files and directories, without a
// container engine and without a registry, and joins images of several platforms. The same files
// give the same bytes, wherever and whenever it runs. It does not run anything inside an image,
// knows no base images and pushes nothing.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// usage precedes the list of flags.
const usage = `image makes a container image FROM scratch:
  image -o OUT.tar --name REF --platform linux/amd64 --file SRC:/DEST[:MODE] ... [flags]

It writes an OCI layout which is also a docker archive: for docker load, ctr images import,
kind load image-archive, skopeo and crane. To join images of several platforms under one name:
  image index -o OUT.tar --name REF IN.tar IN.tar ...

A directory as SRC is taken with all below it. A later --file replaces what an earlier one put at
the same place. All files belong to 0:0 and have the time SOURCE_DATE_EPOCH (default 0).

`

// run executes one command line and returns its exit code: 0 done, 1 failed, 2 not understood.
func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "image: %v\n", err)
		return 2
	}
	report, err := o.make(stderr)
	if err != nil {
		fmt.Fprintf(stderr, "image: %v\n", err)
		return 1
	}
	fmt.Fprintln(stdout, report)
	return 0
}

// make writes the archive and returns what is worth printing about it.
func (o *options) make(notes io.Writer) (string, error) {
	if o.join != nil {
		return joinImages(o)
	}
	return makeImage(o, notes)
}
