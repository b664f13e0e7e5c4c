package svc

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestS6DaemonSetSelectsNode: an agent leaves for good if its DaemonSet does not select its node
// any more.
func TestS6DaemonSetSelectsNode(t *testing.T) {
	node := &Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"},
		Labels: map[string]string{"role": "lb", "cores": "8"}}
	affinity := func(term string) string {
		return `"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[` + term + `]}}}`
	}
	expression := func(text string) string { return `{"matchExpressions":[` + text + `]}` }
	for spec, want := range map[string]bool{
		``: true, `"nodeSelector":{"role":"lb"}`: true, `"nodeSelector":{"role":"db"}`: false,
		`"nodeSelector":{"zone":"a"}`: false, `"affinity":{}`: true,
		affinity(expression(
			`{"key":"role","operator":"In","values":["db","lb"]}`)): true,
		affinity(expression(
			`{"key":"role","operator":"NotIn","values":["db","lb"]}`)): false,
		affinity(expression(
			`{"key":"role","operator":"Exists"},{"key":"zone","operator":"DoesNotExist"}`)): true,
		affinity(expression(
			`{"key":"role","operator":"Exists"},{"key":"cores","operator":"Gt","values":["8"]}`)): false,
		affinity(expression(
			`{"key":"cores","operator":"Gt","values":["4"]}`)): true,
		affinity(expression(`{"key":"role","operator":"In","values":["db"]}`) + `,` +
			expression(`{"key":"role","operator":"Exists"}`)): true,
		affinity(`{}`): false,
		affinity(`{"matchFields":[{"key":"metadata.name","operator":"In","values":["n1"]}]}`): true,
		affinity(`{"matchFields":[{"key":"metadata.name","operator":"In","values":["n2"]}]}`): false,
		affinity(expression(`{"key":"role","operator":"Unknown","values":["db"]}`)):           true,
		`"nodeSelector":{"role":"lb"},` +
			affinity(expression(`{"key":"role","operator":"DoesNotExist"}`)): false,
	} {
		var object daemonSet
		if err := json.Unmarshal([]byte(`{"spec":{"template":{"spec":{`+spec+`}}}}`),
			&object); err != nil {
			t.Fatal(err)
		}
		if got := object.selects(node); got != want {
			t.Errorf("{%s}: %v", spec, got)
		}
	}
	if len(selectorOperators) != 6 || selectorOperators[corev1.NodeSelectorOpIn] == "" {
		t.Errorf("selectorOperators %v", selectorOperators)
	}
}
