package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubeadm"
	"github.com/kvip/kvip/pkg/manifest"
)

const (
	manifestDir  = "/etc/kubernetes/manifests" // the kubelet's, as kubeadm sets it up
	manifestName = "kvip.yaml"
	madeConfig   = "kubeadm.yaml"
	stream       = "-"
)

// preparation is one run of `kvip kubeadm init` or `kvip kubeadm join`.
type preparation struct {
	command string // init or join
	cfg     config.Config

	config, output, manifestDir string
	dryRun, force, skipHost     bool

	// What it asks of the world.
	resolve func(context.Context) func(string) ([]netip.Addr, error)
	host    func([]netip.Addr) ([]kubeadm.Address, error)
}

func newPreparation(command string) *preparation {
	p := &preparation{command: command, cfg: config.StaticPod(), resolve: resolver, host: hostAddresses}
	p.cfg.Image = defaultImage()
	return p
}

func (p *preparation) addFlags(fs *pflag.FlagSet) {
	p.cfg.AddFlags(fs)
	fs.StringVar(&p.config, "config", "", "kubeadm configuration to read (-: stdin)")
	fs.StringVar(&p.output, "output", "", "where to write the configuration (-: stdout; default: the file of --config)")
	fs.StringVar(&p.manifestDir, "manifest-dir", manifestDir, "directory from which the kubelet starts static pods")
	fs.BoolVar(&p.dryRun, "dry-run", false, "show what would be written as a diff, and write nothing")
	fs.BoolVar(&p.force, "force", false, "overwrite a manifest or a file of --output that exists and differs")
	fs.BoolVar(&p.skipHost, "skip-host-checks", false, "prepare files for another machine: leave this one's addresses and its DNS out of it")
}

// run plans, compares with what is there, and writes.
func (p *preparation) run(cmd *cobra.Command) error {
	if err := p.complete(); err != nil {
		return err
	}
	plan, old, err := p.plan(cmd)
	if err != nil {
		return err
	}
	if err := checkPatches(&plan); err != nil {
		return err
	}
	p.cfg.VIPs, p.cfg.Port = plan.VIPs, plan.Port
	targets, err := p.targets(plan, old)
	if err != nil {
		return err
	}
	say := cmd.OutOrStdout()
	if p.output == stream {
		say = cmd.ErrOrStderr()
	}
	if err := p.carryOut(targets, say, cmd.OutOrStdout()); err != nil {
		return err
	}
	if plan.ImageRepository != "" && !cmd.Flags().Changed("image") {
		plan.Notes = append(plan.Notes, fmt.Sprintf("the static pod names the image %s; the configuration's imageRepository is %s, so if kvip is there too, give its name with --image, on every node",
			p.cfg.Image, plan.ImageRepository))
	} else if note := imageNote(cmd, p.cfg.Image); note != "" && plan.ControlPlane {
		plan.Notes = append(plan.Notes, note)
	}
	return p.report(plan, say)
}

// complete fills in where the configuration goes.
func (p *preparation) complete() error {
	if p.output == "" {
		p.output = p.config
		if p.config == "" && p.command == "init" {
			p.output = madeConfig
		}
	} else if p.config == "" && p.command == "join" {
		return &config.UsageError{Flag: "output", Reason: "without --config there is no configuration to write",
			Hint: "leave it out, or give a JoinConfiguration with --config"}
	}
	if p.manifestDir == "" {
		return &config.UsageError{Flag: "manifest-dir", Reason: "no directory given", Hint: "leave it out for " + manifestDir}
	}
	if p.output != "" && p.output != stream && sameFile(filepath.Dir(p.output), p.manifestDir) {
		return &config.UsageError{Flag: "output", Reason: fmt.Sprintf("%q is in the manifest directory, where the kubelet takes every file for a pod", p.output),
			Hint: "write it elsewhere"}
	}
	return nil
}

// plan reads the configuration, or makes one, and returns it with what was read.
func (p *preparation) plan(cmd *cobra.Command) (plan kubeadm.Plan, old []byte, err error) {
	request := kubeadm.Request{VIPs: p.cfg.VIPs}
	if cmd.Flags().Changed("port") {
		if err := p.cfg.Validate(config.APIServer); err != nil {
			return plan, nil, err
		}
		request.Port = p.cfg.Port
	}
	if !p.skipHost {
		request.Resolve = p.resolve(cmd.Context())
		if request.Host, err = p.host(p.cfg.VIPs); err != nil {
			return plan, nil, err
		}
	}
	if p.config == "" && p.command == "join" {
		plan, err = joinByFlags(request)
		return plan, nil, err
	}
	file, old, err := p.file(cmd.InOrStdin(), request)
	if err != nil {
		return plan, nil, err
	}
	if p.command == "init" {
		plan, err = file.PlanInit(request)
	} else if plan, err = file.PlanJoin(request); err == nil {
		plan.Notes = append(plan.Notes, discoveryNotes(plan)...)
	}
	return plan, old, err
}

// file reads the configuration of --config, or makes one; old is what was read.
func (p *preparation) file(stdin io.Reader, request kubeadm.Request) (file *kubeadm.File, old []byte, err error) {
	if p.config == "" {
		text, err := kubeadm.MinimalConfig(request)
		if err != nil {
			return nil, nil, err
		}
		file, err = kubeadm.Parse("minimal configuration", text)
		return file, nil, err
	}
	name, old, err := readConfig(stdin, "config", p.config)
	if err != nil {
		return nil, nil, err
	}
	file, err = kubeadm.Parse(name, old)
	return file, old, err
}

// joinByFlags plans a node whose `kubeadm join` needs no file.
func joinByFlags(r kubeadm.Request) (kubeadm.Plan, error) {
	if len(r.VIPs) == 0 {
		return kubeadm.Plan{}, &config.UsageError{Flag: "vip", Reason: "no virtual IP address given", Hint: "add one like --vip 192.0.2.10"}
	}
	return kubeadm.JoinWithoutFile(r)
}

// readConfig reads a kubeadm configuration that a flag names, or stdin for "-", and returns it with
// the name for messages.
func readConfig(stdin io.Reader, flag, path string) (name string, data []byte, err error) {
	name, from := path, stdin
	if path == stream {
		name = "stdin"
	} else {
		file, err := os.Open(path)
		if err != nil {
			return name, nil, &config.UsageError{Flag: flag, Reason: err.Error(), Hint: "name a file with a kubeadm configuration"}
		}
		defer file.Close()
		from = file
	}
	data, err = io.ReadAll(io.LimitReader(from, kubeadm.MaxSize))
	if err != nil {
		return name, nil, &config.UsageError{Flag: flag, Reason: err.Error(), Hint: "name a file with a kubeadm configuration"}
	}
	return name, data, nil
}

// manifest returns the static pod as it is to stand in the manifest directory.
func (p *preparation) manifest() ([]byte, error) {
	pod, err := manifest.Pod(p.cfg)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	err = manifest.Write(&text, pod)
	return text.Bytes(), err
}
