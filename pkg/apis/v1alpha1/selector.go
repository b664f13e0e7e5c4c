package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// LabelSelector selects objects by their labels. Packages that convert objects name it without an
// import of Kubernetes.
type LabelSelector = metav1.LabelSelector
