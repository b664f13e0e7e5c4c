package kindenv

import (
	"os"
	"path/filepath"
	"strings"
)

// Place is how users reach the engine of the cluster, in commands that work as they are.
type Place struct {
	DockerDir string // of a private engine; empty: the machine's
	Sudo      bool   // its commands need sudo
}

// Place returns where the cluster is.
func (s *Env) Place() Place {
	p := Place{Sudo: os.Getenv("SUDO_UID") != ""}
	if s.Cfg.Engine.Own() {
		p.DockerDir = os.Getenv("KVIP_DOCKER_DIR")
	}
	return p
}

// Root is a command that may need root's rights.
func (p Place) Root(command string) string {
	if p.Sudo {
		return "sudo " + command
	}
	return command
}

// Docker is a docker command for the engine.
func (p Place) Docker(args string) string {
	docker := "docker "
	if p.DockerDir != "" {
		docker += "-H unix://" + filepath.Join(p.DockerDir, "docker.sock") + " "
	}
	return p.Root(docker + args)
}

// Outside is a command of a client outside the nodes.
func (p Place) Outside(command string) string {
	if p.DockerDir == "" {
		return command
	}
	return p.Root("kind/docker.sh run " + p.DockerDir + " " + command)
}

// NextSteps lists commands to try in the cluster, with the one that removes it.
func (p Place) NextSteps(commands ...string) string {
	lines := []string{"the cluster stays. What to try next:"}
	for _, c := range append(commands, p.Root("make kind-down")+
		"      # removes the cluster and its files") {
		lines = append(lines, "  "+c)
	}
	return strings.Join(lines, "\n")
}

// ShortName returns the name of a node in few letters for the live line: abbreviation and number,
// as cp2 for ha-control-plane2. A node whose name does not begin with prefix keeps its name.
func ShortName(name, prefix, abbreviation string) string {
	number, ok := strings.CutPrefix(name, prefix)
	switch {
	case !ok:
		return name
	case number == "":
		return abbreviation + "1"
	}
	return abbreviation + number
}
