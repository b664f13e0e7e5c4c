package metallb

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
)

// profileSpec are the fields of a BFDProfile that have a counterpart, and echoInterval, which has
// no effect alone.
type profileSpec struct {
	ReceiveInterval  int64 `json:"receiveInterval"`
	TransmitInterval int64 `json:"transmitInterval"`
	DetectMultiplier int64 `json:"detectMultiplier"`
	MinimumTTL       int64 `json:"minimumTtl"`
	EchoInterval     int64 `json:"echoInterval"`
}

// addProfile translates a BFDProfile.
func (m *migration) addProfile(o object) {
	if on, _ := o.spec["echoMode"].(bool); on && o.spec["echoInterval"] != nil {
		m.refuse(o, "spec.echoInterval", "it is of echoMode, and kvip has the asynchronous mode only")
	}
	var spec profileSpec
	if !m.decode(o, &spec) {
		return
	}
	profile := &v1alpha1.BFDProfile{TypeMeta: typeMeta(v1alpha1.BFDProfileKind),
		ObjectMeta: metav1.ObjectMeta{Name: o.name, Labels: o.labels}}
	for _, f := range []struct {
		name        string
		value       int64
		least, most int64
		into        *int32
	}{
		{"receiveInterval", spec.ReceiveInterval, 10, 60_000, &profile.Spec.ReceiveInterval},
		{"transmitInterval", spec.TransmitInterval, 10, 60_000, &profile.Spec.TransmitInterval},
		{"detectMultiplier", spec.DetectMultiplier, 2, 255, &profile.Spec.DetectMultiplier},
		{"minimumTtl", spec.MinimumTTL, 1, 254, &profile.Spec.MinimumTTL},
	} {
		m.number(o, "spec."+f.name, f.value, f.least, f.most)
		*f.into = int32(f.value)
	}
	if spec.EchoInterval != 0 {
		m.note(o, "spec.echoInterval", "is left out; it has no effect without echoMode")
	}
	m.output.profiles = append(m.output.profiles, profile)
}

// checkReferences notes names of objects that are not in the input.
func (m *migration) checkReferences() {
	objects := map[[2]string]bool{}
	for _, o := range m.objects {
		objects[[2]string{o.kind, o.name}] = true
	}
	has := func(kind, name string) bool { return objects[[2]string{kind, name}] }
	for _, o := range m.objects {
		if o.kind == kindPeer {
			if name, _ := o.spec["bfdProfile"].(string); name != "" && !has(kindBFDProfile, name) {
				m.note(o, "spec.bfdProfile", "there is no BFDProfile %s here; without it there is no session",
					name)
			}
		}
		for _, f := range [][2]string{{"ipAddressPools", kindPool}, {"peers", kindPeer}} {
			listed, _ := o.spec[f[0]].([]any)
			for _, one := range listed {
				if name, _ := one.(string); name != "" && !has(f[1], name) {
					m.note(o, "spec."+f[0], "there is no %s %s here", f[1], name)
				}
			}
		}
	}
}
