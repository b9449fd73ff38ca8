// Command cri does what a kubelet does: over a runtime's socket it pulls an image, makes a pod and a container in it, runs
// the container's command to its end and prints its output. It exits with 1 when the command fails, or anything else.
//
//	cri SOCKET USER:PASSWORD IMAGE DIR [ARG…]
//
// Further arguments replace the image's command. DIR is for the log. It is built with the tag "kube" and ../kube.mod.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 5 {
		fmt.Fprintln(os.Stderr, "usage: cri SOCKET USER:PASSWORD IMAGE DIR [ARG…]")
		os.Exit(2)
	}
	if err := kubelet(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5:]); err != nil {
		fmt.Fprintln(os.Stderr, "cri:", err)
		os.Exit(1)
	}
}
