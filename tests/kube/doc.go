// Package kube judges the manifests of docs/kubernetes.md by Kubernetes' own code. The test is built with the tag "kube" and the
// kube.mod beside it (make kube), so that none of this is a dependency of Slipway. Below cri is a client that does what kubelets do.
package kube
