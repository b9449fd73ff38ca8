//go:build !kube

package main

import "errors"

func kubelet(string, string, string, string, []string) error {
	return errors.New("built without the tag kube, it can do nothing")
}
