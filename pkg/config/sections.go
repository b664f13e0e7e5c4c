package config

import (
	"strings"

	"github.com/spf13/pflag"
)

// The sections of the help text.
const (
	ControlPlaneSection = "Control plane flags"
	ServicesSection     = "Services flags"
	ManifestSection     = "Manifest flags"
	APISection          = "API access flags"
	ObservationSection  = "Health, metrics and log flags"
	KubeVIPSection      = "kube-vip compatibility"
)

// Sections returns the sections in the order of the help text.
func Sections() []string {
	return []string{
		ControlPlaneSection,
		ServicesSection,
		ManifestSection,
		APISection,
		ObservationSection,
		KubeVIPSection,
	}
}

var sectionOf = map[string]string{
	"vip":              ControlPlaneSection,
	"interface":        ControlPlaneSection,
	"interface-wait":   ControlPlaneSection,
	"port":             ControlPlaneSection,
	"lease-name":       ControlPlaneSection,
	"namespace":        ControlPlaneSection,
	"lease-duration":   ControlPlaneSection,
	"renew-interval":   ControlPlaneSection,
	"failover-timeout": ControlPlaneSection,
	"drain-timeout":    ControlPlaneSection,
	"peer-port":        ControlPlaneSection,
	"health-url":       ControlPlaneSection,
	"announce":         ControlPlaneSection,
	"bgp-as":           ControlPlaneSection,
	"bgp-router-id":    ControlPlaneSection,
	"bgp-peer":         ControlPlaneSection,
	"bgp-config":       ControlPlaneSection,
	"bgp-hold-time":    ControlPlaneSection,

	"services":           ServicesSection,
	"services-name":      ServicesSection,
	"service-class":      ServicesSection,
	"service-class-only": ServicesSection,
	"services-interface": ServicesSection,
	"services-fallback":  ServicesSection,
	"daemonset":          ServicesSection,
	"kube-vip":           KubeVIPSection,

	"kubeconfig":      APISection,
	"state-dir":       APISection,
	"node-name":       APISection,
	"health-address":  ObservationSection,
	"metrics-address": ObservationSection,
	"log-format":      ObservationSection,
	"v":               ObservationSection,
	"image":           ManifestSection,
}

const sectionAnnotation = "kvip.dev/section"

// SetSection moves a flag to a section of the help text.
func SetSection(f *pflag.Flag, section string) {
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[sectionAnnotation] = []string{section}
}

// Section returns the section of a flag, or "" for a command's own flag.
func Section(f *pflag.Flag) string {
	return strings.Join(f.Annotations[sectionAnnotation], "")
}
