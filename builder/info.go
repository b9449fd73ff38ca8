package builder

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// Info describes the host and the store as `info` prints them: nested maps whose keys are the contract (cli.md §13.1).
func (s *Store) Info() (map[string]any, error) {
	host, err := s.hostInfo()
	if err != nil {
		return nil, err
	}
	store, err := s.storeInfo()
	if err != nil {
		return nil, err
	}
	return map[string]any{"host": host, "store": store}, nil
}

func (s *Store) hostInfo() (map[string]any, error) {
	var u syscall.Utsname
	if err := syscall.Uname(&u); err != nil {
		return nil, fmt.Errorf("asking the kernel for its version: %w", err)
	}
	mem := keyed("/proc/meminfo", ":")
	os1 := keyed("/etc/os-release", "=")
	uptime, _, _ := strings.Cut(readText("/proc/uptime"), " ")
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	runtimeName, err := s.ociRuntime()
	if err != nil {
		return nil, err
	}
	p := HostPlatform()
	return map[string]any{
		"Distribution": map[string]any{"distribution": os1["ID"], "version": os1["VERSION_ID"]},
		"MemFree":      kib(mem["MemFree"]), "MemTotal": kib(mem["MemTotal"]),
		"SwapFree": kib(mem["SwapFree"]), "SwapTotal": kib(mem["SwapTotal"]),
		"OCIRuntime": runtimeName, "arch": p.Arch, "variant": p.Variant, "os": p.OS, "cpus": runtime.NumCPU(),
		"hostname": host, "kernel": utsText(u.Release[:]), "rootless": rootless(), "uptime": uptime + "s",
	}, nil
}

func (s *Store) storeInfo() (map[string]any, error) {
	images, err := s.allImages()
	if err != nil {
		return nil, err
	}
	containers, err := s.allContainers()
	if err != nil {
		return nil, err
	}
	pairs, err := s.st.Status()
	if err != nil {
		return nil, fmt.Errorf("reading the state of storage: %w", err)
	}
	status := map[string]any{}
	for _, kv := range pairs {
		status[kv[0]] = kv[1]
	}
	_, policy, err := s.Policy("")
	if err != nil {
		return nil, fmt.Errorf("reading signature policy: %w", err)
	}
	return map[string]any{
		"ContainerStore": map[string]any{"number": len(containers)}, "ImageStore": map[string]any{"number": len(images)},
		"GraphDriverName": s.st.GraphDriverName(), "GraphOptions": s.st.GraphOptions(), "GraphRoot": s.st.GraphRoot(),
		"GraphStatus": status, "GraphImageStore": s.st.ImageStore(), "GraphTransientStore": s.st.TransientStore(),
		"RunRoot": s.st.RunRoot(), "Ownership": s.own.String(), "SignaturePolicy": first(policy, "built-in: accept everything"),
	}, nil
}

// keyed reads a file of lines KEY sep VALUE; a file that cannot be read is an empty one.
func keyed(file, sep string) map[string]string {
	m := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(readText(file)))
	for lines.Scan() {
		if k, v, ok := strings.Cut(lines.Text(), sep); ok {
			m[k] = strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return m
}

func readText(file string) string {
	b, _ := os.ReadFile(file)
	return string(bytes.TrimSpace(b))
}

func kib(text string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSuffix(text, " kB"), 10, 64)
	return n * 1024
}

func utsText(c []int8) string {
	var b strings.Builder
	for _, x := range c {
		if x == 0 {
			break
		}
		b.WriteByte(byte(x))
	}
	return b.String()
}
