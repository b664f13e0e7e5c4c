package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubeadm"
	"github.com/kvip/kvip/pkg/manifest"
	"github.com/kvip/kvip/pkg/printable"
)

const (
	manifestDir   = "/etc/kubernetes/manifests" // the kubelet's, as kubeadm configures it
	manifestName  = "kvip.yaml"
	newConfigName = "kubeadm.yaml" // of a configuration that kvip makes
	stdioPath     = "-"            // stdin or stdout as the path of a file

	// resolveTimeout bounds the look-up of a DNS name in a kubeadm configuration.
	resolveTimeout = 5 * time.Second
)

// newKubeadm returns `kvip kubeadm`, which groups the commands that precede kubeadm's own.
func newKubeadm() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kubeadm",
		Short: "Prepare a node for kubeadm with a virtual IP",
		Long: `
Prepare a node for kubeadm with a virtual IP: edit kubeadm's configuration and write the static pod.
The commands do not run kubeadm. They print the command to run next.`,
		Example: `  kvip kubeadm init --vip 192.0.2.10
  kvip kubeadm join --vip 192.0.2.10`,
		RunE: needsCommand,
	}
	cmd.AddCommand(newKubeadmInit(), newKubeadmJoin())
	return cmd
}

// newKubeadmInit returns `kvip kubeadm init`.
func newKubeadmInit() *cobra.Command {
	p := newPreparation("init")
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Prepare the first control-plane node for 'kubeadm init'",
		Long: `
Prepare the first control-plane node for 'kubeadm init': set controlPlaneEndpoint in kubeadm's
configuration to the virtual IP, add it to the API server's certSANs, and write the static pod.

The configuration is the file of --config. It is edited in place unless --output names another file,
and every other line stays as it is. With --config - it is read from stdin and written to stdout.
Without --config a minimal one is written to kubeadm.yaml. Without --vip the configuration's
endpoint is the virtual IP. With two addresses the first becomes the endpoint and both become
certSANs. A DNS name as endpoint stays if it resolves to the virtual IP.

If configuration, virtual IP and this host contradict each other, nothing is written and the exit
code is 2. A manifest, or a file of --output, that exists and differs is overwritten only with
--force.`,
		Example: `  kvip kubeadm init --vip 192.0.2.10
  kvip kubeadm init --vip 192.0.2.10 --config kubeadm.yaml --dry-run
  cat kubeadm.yaml | kvip kubeadm init --vip 192.0.2.10,2001:db8::10 --config - > edited.yaml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.run(cmd) },
	}
	p.addFlags(cmd.Flags())
	return cmd
}

// newKubeadmJoin returns `kvip kubeadm join`.
func newKubeadmJoin() *cobra.Command {
	p := newPreparation("join")
	cmd := &cobra.Command{
		Use:   "join",
		Short: "Prepare a further control-plane node for 'kubeadm join'",
		Long: `
Prepare a further control-plane node for 'kubeadm join': write the same static pod as on the first
node and, with --config, set discovery.bootstrapToken.apiServerEndpoint of the JoinConfiguration to
the virtual IP. The file is edited in place unless --output names another file. With --config - it
is read from stdin and written to stdout. Without --config only the static pod is written, and the
printed command has placeholders for the token, the hash and the key that 'kubeadm init
--upload-certs' printed.

Give the same flags as to 'kvip kubeadm init': equal flags give equal manifests. A JoinConfiguration
without controlPlane is that of a worker, which gets no static pod.

If configuration, virtual IP and this host contradict each other, nothing is written and the exit
code is 2. A manifest, or a file of --output, that exists and differs is overwritten only with
--force.`,
		Example: `  kvip kubeadm join --vip 192.0.2.10
  kvip kubeadm join --vip 192.0.2.10 --config join.yaml --dry-run`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.run(cmd) },
	}
	p.addFlags(cmd.Flags())
	return cmd
}

// preparation is one run of `kvip kubeadm init` or `kvip kubeadm join`.
type preparation struct {
	command string // init or join
	cfg     config.Config

	config, output, manifestDir string
	dryRun, force, skipHost     bool

	// The look-ups on the host. Tests replace them.
	resolve func(context.Context) func(string) ([]netip.Addr, error)
	host    func([]netip.Addr) ([]kubeadm.Address, error)
}

func newPreparation(command string) *preparation {
	p := &preparation{
		command: command,
		cfg:     config.StaticPod(),
		resolve: hostResolver,
		host:    hostAddresses,
	}
	p.cfg.Image = defaultImage()
	return p
}

func (p *preparation) addFlags(fs *pflag.FlagSet) {
	p.cfg.AddFlags(fs)
	fs.StringVar(&p.config, "config", "", "`file` with the kubeadm configuration, or - for stdin")
	fs.StringVar(&p.output, "output", "", "`file` for the edited configuration, or - for stdout "+
		"(default: the file of --config)")
	fs.StringVar(&p.manifestDir, "manifest-dir", manifestDir,
		"`directory` from which the kubelet starts static pods")
	fs.BoolVar(&p.dryRun, "dry-run", false, "print a diff of what would be written, and write nothing")
	fs.BoolVar(&p.force, "force", false,
		"overwrite a manifest or a file of --output that exists and differs")
	fs.BoolVar(&p.skipHost, "skip-host-checks", false,
		"prepare files for another machine: do not check the VIP "+
			"against this host's addresses and DNS")
}

// run plans, compares with the files that exist, and writes.
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
	messages := cmd.OutOrStdout()
	if p.output == stdioPath {
		messages = cmd.ErrOrStderr()
	}
	if err := p.apply(targets, messages, cmd.OutOrStdout()); err != nil {
		return err
	}
	if plan.ImageRepository != "" && !cmd.Flags().Changed("image") {
		plan.Notes = append(plan.Notes, fmt.Sprintf(
			"the static pod uses the image %s, but imageRepository of the "+
				"configuration is %s. If that has kvip too, give the image with --image on every node",
			p.cfg.Image, plan.ImageRepository))
	} else if note := imageNote(cmd, p.cfg.Image); note != "" && plan.ControlPlane {
		plan.Notes = append(plan.Notes, note)
	}
	return p.report(plan, messages)
}

// complete fills in the path of the edited configuration.
func (p *preparation) complete() error {
	if p.output == "" {
		p.output = p.config
		if p.config == "" && p.command == "init" {
			p.output = newConfigName
		}
	} else if p.config == "" && p.command == "join" {
		return &config.UsageError{Flag: "output",
			Reason: "without --config there is no configuration to write",
			Hint:   "remove the flag, or give a JoinConfiguration with --config"}
	}
	if p.manifestDir == "" {
		return &config.UsageError{Flag: "manifest-dir", Reason: "no directory given",
			Hint: "remove the flag for " + manifestDir}
	}
	if p.output != "" && p.output != stdioPath && sameFile(filepath.Dir(p.output), p.manifestDir) {
		return &config.UsageError{Flag: "output", Reason: fmt.Sprintf(
			"%q is in the manifest directory, where the "+
				"kubelet reads every file as a pod", p.output), Hint: "write it to another directory"}
	}
	return nil
}

// plan reads the configuration, or makes one. old is the text that was read.
func (p *preparation) plan(cmd *cobra.Command) (plan kubeadm.Plan, old []byte, err error) {
	request := kubeadm.Request{VIPs: p.cfg.VIPs, Routed: p.cfg.ByBGP()}
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
		if len(request.VIPs) == 0 {
			return plan, nil, (config.Config{}).Validate(config.Address)
		}
		plan, err = kubeadm.JoinWithoutFile(request)
		return plan, nil, err
	}
	file, old, err := p.parse(cmd.InOrStdin(), request)
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

// parse reads the configuration of --config, or makes one.
func (p *preparation) parse(stdin io.Reader,
	request kubeadm.Request) (file *kubeadm.File, old []byte, err error) {
	if p.config == "" {
		text, err := kubeadm.MinimalConfig(request)
		if err != nil {
			return nil, nil, err
		}
		file, err = kubeadm.Parse("minimal configuration", text)
		return file, nil, err
	}
	name, old, err := readKubeadmConfig(stdin, "config", p.config)
	if err != nil {
		return nil, nil, err
	}
	file, err = kubeadm.Parse(name, old)
	return file, old, err
}

// readKubeadmConfig reads the file of a flag, or stdin for "-". name is for messages.
func readKubeadmConfig(stdin io.Reader, flag, path string) (name string, data []byte, err error) {
	const hint = "name a file with a kubeadm configuration"
	name, data, err = readInput(path, stdin, kubeadm.MaxSize)
	if err != nil {
		return name, nil, &config.UsageError{Flag: flag, Reason: err.Error(), Hint: hint}
	}
	return name, data, nil
}

// readInput reads at most limit bytes of a file, or of stdin for "-". name is for messages.
func readInput(path string, stdin io.Reader, limit int64) (name string, data []byte, err error) {
	name, from := path, stdin
	if path == stdioPath {
		name = "stdin"
	} else {
		file, err := os.Open(path)
		if err != nil {
			return name, nil, err
		}
		defer file.Close()
		from = file
	}
	data, err = io.ReadAll(io.LimitReader(from, limit))
	return name, data, err
}

// discoveryNotes compares the kubeconfig of discovery.file, which kvip does not edit, with the VIP.
func discoveryNotes(plan kubeadm.Plan) []string {
	file, want := plan.DiscoveryFile, "https://"+plan.Endpoint
	if file == "" {
		return nil
	}
	if strings.Contains(file, "://") {
		return []string{"discovery.file " + file +
			" is not edited and was not fetched: its server should be " + want}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return []string{
			fmt.Sprintf("discovery.file cannot be read here (%v): its server should be %s", err, want),
		}
	}
	servers, err := kubeadm.DiscoveryServers(text)
	if err != nil {
		return []string{fmt.Sprintf("discovery.file %s is not edited: %v", file, err)}
	}
	var notes []string
	for _, server := range servers {
		if server != want {
			notes = append(notes,
				fmt.Sprintf("discovery.file %s is not edited: its server is %s, not %s", file, server, want))
		}
	}
	return notes
}

// manifest returns the text of the static pod.
func (p *preparation) manifest() ([]byte, error) {
	pod, err := manifest.Pod(p.cfg)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	err = manifest.Write(&text, pod)
	return text.Bytes(), err
}

// report prints the notes and the next command.
func (p *preparation) report(plan kubeadm.Plan, w io.Writer) error {
	var text strings.Builder
	for _, note := range plan.Notes {
		fmt.Fprintf(&text, "Note: %s.\n", printable.Lines(note))
	}
	if !plan.ControlPlane {
		text.WriteString("Note: a JoinConfiguration without controlPlane is that of a worker, which " +
			"gets no static pod.\n")
	}
	condition := ""
	if p.output == stdioPath {
		condition = ", with stdout saved as " + newConfigName
	}
	fmt.Fprintf(&text, "\nNext%s:\n  %s\n", condition, p.nextCommand(plan))
	if p.config == "" && p.command == "join" {
		text.WriteString(
			"Replace TOKEN, HASH and KEY by what 'kubeadm init --upload-certs' printed on the first node.\n")
	}
	if _, err := io.WriteString(w, text.String()); err != nil {
		return fmt.Errorf("print the next command: %w", err)
	}
	return nil
}

// nextCommand returns the command line of kubeadm that follows.
func (p *preparation) nextCommand(plan kubeadm.Plan) string {
	file := shellQuote(p.output)
	if p.output == stdioPath {
		file = newConfigName
	}
	switch {
	case p.command == "init":
		return "kubeadm init --config " + file + " --upload-certs"
	case p.config != "":
		return "kubeadm join --config " + file
	}
	line := "kubeadm join " + plan.Endpoint +
		" --control-plane --token TOKEN --discovery-token-ca-cert-hash HASH --certificate-key KEY"
	if plan.Port != config.DefaultPort {
		line += fmt.Sprintf(" --apiserver-bind-port %d", plan.Port)
	}
	return line
}

// shellQuote quotes a path if a shell would not take it as one word.
func shellQuote(path string) string {
	if isPlainWord(path) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
