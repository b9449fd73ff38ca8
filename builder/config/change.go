package config

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// A Change is one edit of a configuration.
type Change func(*Image) error

func set(f func(*Image)) Change { return func(i *Image) error { f(i); return nil } }

// Env sets a variable, in place if it is there.
func Env(key, value string) Change {
	return set(func(i *Image) {
		kv := key + "=" + value
		for n, old := range i.Config.Env {
			if strings.HasPrefix(old, key+"=") || old == key {
				i.Config.Env = slices.Clone(i.Config.Env)
				i.Config.Env[n] = kv
				return
			}
		}
		i.Config.Env = append(i.Config.Env, kv)
	})
}

// UnsetEnv removes a variable; ClearEnv all.
func UnsetEnv(key string) Change {
	return set(func(i *Image) {
		i.Config.Env = slices.DeleteFunc(slices.Clone(i.Config.Env), func(kv string) bool {
			return strings.HasPrefix(kv, key+"=") || kv == key
		})
	})
}

// ClearEnv removes all variables.
func ClearEnv() Change { return set(func(i *Image) { i.Config.Env = nil }) }

// Cmd sets the default command; nil removes it.
func Cmd(argv []string) Change { return set(func(i *Image) { i.Config.Cmd = argv }) }

// Entrypoint sets the entrypoint; nil removes it. It leaves the command: that Dockerfiles clear an
// inherited one is the frontend's knowledge.
func Entrypoint(argv []string) Change { return set(func(i *Image) { i.Config.Entrypoint = argv }) }

// ArgsEscaped marks the command as complete, as BuildKit does.
func ArgsEscaped() Change { return set(func(i *Image) { i.Config.ArgsEscaped = true }) }

// Label sets a label, UnsetLabel removes one, ClearLabels all.
func Label(key, value string) Change {
	return set(func(i *Image) {
		if i.Config.Labels == nil {
			i.Config.Labels = map[string]string{}
		}
		i.Config.Labels[key] = value
	})
}

// UnsetLabel removes a label.
func UnsetLabel(key string) Change { return set(func(i *Image) { delete(i.Config.Labels, key) }) }

// ClearLabels removes all labels.
func ClearLabels() Change { return set(func(i *Image) { i.Config.Labels = nil }) }

// Annotation sets an annotation of the manifest, UnsetAnnotation removes one, ClearAnnotations all.
func Annotation(key, value string) Change {
	if key == "" {
		return func(*Image) error { return fmt.Errorf("annotation \"=%s\" has no name", value) }
	}
	return set(func(i *Image) {
		if i.Annotations == nil {
			i.Annotations = map[string]string{}
		}
		i.Annotations[key] = value
	})
}

// UnsetAnnotation removes an annotation.
func UnsetAnnotation(key string) Change { return set(func(i *Image) { delete(i.Annotations, key) }) }

// ClearAnnotations removes all annotations.
func ClearAnnotations() Change { return set(func(i *Image) { i.Annotations = nil }) }

// Workdir sets the working directory; a relative one is below the present one.
func Workdir(dir string) Change {
	return func(i *Image) error {
		if dir == "" {
			return errors.New("the working directory must not be empty")
		}
		if !path.IsAbs(dir) {
			dir = path.Join("/", i.Config.WorkingDir, dir)
		}
		i.Config.WorkingDir = path.Clean(dir)
		return nil
	}
}

// EditWorkdir is [Workdir], and with an empty dir takes the working directory away, as scripts ask for it.
func EditWorkdir(dir string) Change {
	if dir == "" {
		return set(func(i *Image) { i.Config.WorkingDir = "" })
	}
	return Workdir(dir)
}

// User sets the user, "user[:group]" by name or number, unchecked.
func User(user string) Change { return set(func(i *Image) { i.Config.User = user }) }

// Port adds a port as typed (exact.md §9.4.1), RemovePort removes one, ClearPorts all.
func Port(port string) Change {
	return set(func(i *Image) {
		if i.Config.ExposedPorts == nil {
			i.Config.ExposedPorts = map[string]struct{}{}
		}
		i.Config.ExposedPorts[port] = struct{}{}
	})
}

// RemovePort removes a port.
func RemovePort(port string) Change {
	return set(func(i *Image) { delete(i.Config.ExposedPorts, port) })
}

// ClearPorts removes all ports.
func ClearPorts() Change { return set(func(i *Image) { i.Config.ExposedPorts = nil }) }

// Volume declares a volume, RemoveVolume removes one, ClearVolumes all.
func Volume(dir string) Change {
	return set(func(i *Image) {
		if i.Config.Volumes == nil {
			i.Config.Volumes = map[string]struct{}{}
		}
		i.Config.Volumes[dir] = struct{}{}
	})
}

// RemoveVolume removes a volume.
func RemoveVolume(dir string) Change { return set(func(i *Image) { delete(i.Config.Volumes, dir) }) }

// ClearVolumes removes all volumes.
func ClearVolumes() Change { return set(func(i *Image) { i.Config.Volumes = nil }) }

// StopSignal sets the signal that stops a container.
func StopSignal(signal string) Change { return set(func(i *Image) { i.Config.StopSignal = signal }) }

// Shell sets the shell of shell-form commands.
func Shell(argv []string) Change { return set(func(i *Image) { i.Config.Shell = argv }) }

// Health sets the health check; nil removes it.
func Health(h *Healthcheck) Change { return set(func(i *Image) { i.Config.Healthcheck = h }) }

// OnBuild appends a trigger; ClearOnBuild removes all.
func OnBuild(trigger string) Change {
	return set(func(i *Image) { i.Config.OnBuild = append(slices.Clone(i.Config.OnBuild), trigger) })
}

// ClearOnBuild removes all triggers.
func ClearOnBuild() Change { return set(func(i *Image) { i.Config.OnBuild = nil }) }

// Author sets the author.
func Author(name string) Change { return set(func(i *Image) { i.Author = name }) }

// Arch, OS, Variant and OSVersion set the platform, as typed.
func Arch(arch string) Change { return set(func(i *Image) { i.Architecture = arch }) }

// OS sets the operating system.
func OS(os string) Change { return set(func(i *Image) { i.OS = os }) }

// Variant sets the variant of the architecture.
func Variant(v string) Change { return set(func(i *Image) { i.Variant = v }) }

// OSVersion sets the version of the operating system.
func OSVersion(v string) Change { return set(func(i *Image) { i.OSVersion = v }) }

// OSFeature adds a feature, RemoveOSFeature removes one, ClearOSFeatures all.
func OSFeature(f string) Change {
	return set(func(i *Image) {
		if !slices.Contains(i.OSFeatures, f) {
			i.OSFeatures = append(slices.Clone(i.OSFeatures), f)
		}
	})
}

// RemoveOSFeature removes a feature.
func RemoveOSFeature(f string) Change {
	return set(func(i *Image) {
		i.OSFeatures = slices.DeleteFunc(slices.Clone(i.OSFeatures), func(x string) bool { return x == f })
	})
}

// ClearOSFeatures removes all features.
func ClearOSFeatures() Change { return set(func(i *Image) { i.OSFeatures = nil }) }

// Comment, Hostname and Domainname are kept in the docker format only.
func Comment(text string) Change { return set(func(i *Image) { i.Comment = text }) }

// Hostname sets the host name of containers.
func Hostname(name string) Change { return set(func(i *Image) { i.Config.Hostname = name }) }

// Domainname sets the domain name of containers.
func Domainname(name string) Change { return set(func(i *Image) { i.Config.Domainname = name }) }

// Nop is the history text of an instruction that runs nothing (decisions.md §3.8).
func Nop(verb, text string) string { return fmt.Sprintf("/bin/sh -c #(nop) %s %s", verb, text) }
