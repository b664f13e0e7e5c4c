package kindcluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
)

// Engine is a Docker engine: the machine's, or one of this project's own (kind/docker.sh).
type Engine struct {
	script string // kind/docker.sh
	dir    string // of an engine of our own; empty: the machine's
	netns  string // path of the network namespace of an engine of our own
}

// StartEngine starts an engine of our own, which keeps its files in dir, unless it runs there
// already. Root is the project's directory. It needs root and dockerd.
func StartEngine(ctx context.Context, root, dir string) (*Engine, error) {
	e := &Engine{script: filepath.Join(root, "kind", "docker.sh"), dir: dir}
	if _, err := run(exec.CommandContext(ctx, e.script, "start", dir)); err != nil {
		return nil, fmt.Errorf("start Docker: %w", err)
	}
	path, err := run(exec.CommandContext(ctx, e.script, "netns", dir))
	e.netns = strings.TrimSpace(path)
	return e, err
}

// MachineEngine returns the engine that the docker command talks to, or an error that says why it
// cannot be used.
func MachineEngine(ctx context.Context) (*Engine, error) {
	e := &Engine{}
	if _, err := e.Docker(ctx, "info"); err != nil {
		return nil, fmt.Errorf("ask Docker: %w", err)
	}
	return e, nil
}

// Own reports whether the engine is one of this project's own, with a network that leads nowhere.
func (e *Engine) Own() bool { return e.dir != "" }

// Stop stops an engine of our own with all its containers, and leaves the machine's alone.
func (e *Engine) Stop() error {
	if !e.Own() {
		return nil
	}
	_, err := run(exec.Command(e.script, "stop", e.dir))
	return err
}

// Command is a command in the network of the engine, with the engine as its Docker host.
func (e *Engine) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if e.Own() {
		args = append([]string{"--net=" + e.netns, "--", name}, args...)
		name = "nsenter"
	}
	cmd := exec.CommandContext(ctx, name, args...)
	if e.Own() {
		cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+filepath.Join(e.dir, "docker.sock"))
	}
	return cmd
}

// Docker runs a docker command and returns what it printed.
func (e *Engine) Docker(ctx context.Context, args ...string) (string, error) {
	if len(args) > 0 && (args[0] == "kill" || args[0] == "rm") {
		defer e.thaw(ctx)()
	}
	return run(e.Command(ctx, "docker", args...))
}

// thaw lets containers that are about to be killed end, until stop is called: one in a container
// may be frozen at that moment (see kind/docker.sh).
func (e *Engine) thaw(ctx context.Context) (stop func()) {
	if !e.Own() {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for tick := time.NewTicker(time.Second); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				_, _ = run(exec.CommandContext(ctx, e.script, "thaw", e.dir)) // the next one may succeed
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// Host returns the host of the engine's network, where clients outside the nodes live.
func (e *Engine) Host() (*netlab.Host, error) {
	if e.Own() {
		return netlab.AdoptPath("client", e.netns)
	}
	return netlab.Adopt("client", os.Getpid())
}

// run runs a command and returns its output; an error has what it wrote.
func run(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(),
			fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, tail(stderr.String()+stdout.String()))
	}
	return stdout.String(), nil
}

// tail shortens the output of a command to its end, where it says what went wrong.
func tail(text string) string {
	const most = 2000
	text = strings.TrimSpace(text)
	if len(text) > most {
		return "... " + text[len(text)-most:]
	}
	return text
}
