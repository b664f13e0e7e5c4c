package stage

import (
	"os"
	"path/filepath"
)

// Place says how people reach the engine that has the cluster, in commands that work as they are.
type Place struct {
	DockerDir string // of an engine of our own; empty: the machine's
	Sudo      bool   // its commands need sudo
}

// Place returns where the cluster is.
func (s *Stage) Place() Place {
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
