//go:build kube

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func kubelet(socket, creds, image, dir string, args []string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	user, password, _ := strings.Cut(creds, ":")
	pulled, err := cri.NewImageServiceClient(conn).PullImage(ctx, &cri.PullImageRequest{
		Image: &cri.ImageSpec{Image: image}, Auth: &cri.AuthConfig{Username: user, Password: password},
	})
	if err != nil {
		return fmt.Errorf("pulling: %w", err)
	}
	runtime := cri.NewRuntimeServiceClient(conn)
	sandbox := &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: "slipway", Namespace: "default", Uid: "1"}, LogDirectory: dir,
		Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: hostNetwork()}},
	}
	pod, err := runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: sandbox})
	if err != nil {
		return fmt.Errorf("making the pod: %w", err)
	}
	defer func() {
		_, stopped := runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: pod.PodSandboxId})
		_, removed := runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: pod.PodSandboxId})
		err = errors.Join(err, stopped, removed)
	}()
	return container(ctx, runtime, &cri.CreateContainerRequest{
		PodSandboxId: pod.PodSandboxId, SandboxConfig: sandbox,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: "app"}, Image: &cri.ImageSpec{Image: pulled.ImageRef}, Args: args, LogPath: "app.log",
			Linux: &cri.LinuxContainerConfig{SecurityContext: restricted()},
		},
	})
}

// hostNetwork spares the pod a network plugin.
func hostNetwork() *cri.NamespaceOption {
	return &cri.NamespaceOption{Network: cri.NamespaceMode_NODE}
}

// restricted is what a pod of the restricted standard gives its containers.
func restricted() *cri.LinuxContainerSecurityContext {
	return &cri.LinuxContainerSecurityContext{
		RunAsUser: &cri.Int64Value{Value: 1000660000}, RunAsGroup: &cri.Int64Value{}, NoNewPrivs: true,
		Capabilities: &cri.Capability{DropCapabilities: []string{"ALL"}}, NamespaceOptions: hostNetwork(),
		Seccomp: &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault},
	}
}

// container makes and starts a container, waits for its end and prints what it wrote.
func container(ctx context.Context, runtime cri.RuntimeServiceClient, req *cri.CreateContainerRequest) error {
	made, err := runtime.CreateContainer(ctx, req)
	if err != nil {
		return fmt.Errorf("making the container: %w", err)
	}
	if _, err := runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: made.ContainerId}); err != nil {
		return fmt.Errorf("starting it: %w", err)
	}
	if err := ended(ctx, runtime, made.ContainerId); err != nil {
		return err
	}
	return printLog(filepath.Join(req.SandboxConfig.LogDirectory, req.Config.LogPath))
}

// ended waits for a container's end.
func ended(ctx context.Context, runtime cri.RuntimeServiceClient, id string) error {
	for {
		r, err := runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id})
		switch {
		case err != nil:
			return fmt.Errorf("waiting for it: %w", err)
		case r.Status.State != cri.ContainerState_CONTAINER_EXITED:
			time.Sleep(20 * time.Millisecond)
		case r.Status.ExitCode != 0:
			return fmt.Errorf("the command exited with %d: %s", r.Status.ExitCode, r.Status.Message)
		default:
			return nil
		}
	}
}

// printLog prints what the container wrote. Each line of a log is "TIME STREAM P|F TEXT".
func printLog(name string) error {
	text, err := os.ReadFile(name)
	for line := range strings.Lines(string(text)) {
		if f := strings.SplitN(line, " ", 4); len(f) == 4 {
			fmt.Print(f[3])
		}
	}
	return err
}
