package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/slipway-build/slipway/builder"
)

// loginFlags are the flags of login.
type loginFlags struct {
	registry            builder.Registry
	compat              string
	user, password      string
	get, stdin, verbose bool
}

func newLoginCmd(g *globals) *cobra.Command {
	var f loginFlags
	cmd := &cobra.Command{Use: "login [flags] REGISTRY[/NAMESPACE...]", Short: "Store credentials for a registry",
		Example: "  login registry.example\n  login -u joe --password-stdin registry.example < secret",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return errors.New("please specify a registry to login to")
			case len(args) > 1:
				return errors.New("too many arguments specified")
			case f.stdin && f.password != "":
				return errors.New("--password and --password-stdin cannot be used together")
			case f.stdin && f.user == "":
				return errors.New("must provide --username with --password-stdin")
			}
			return nil
		}}
	fs := cmd.Flags()
	fs.StringVar(&f.registry.AuthFile, "authfile", g.env.plain("REGISTRY_AUTH_FILE"), "`file` to store credentials in")
	fs.StringVar(&f.compat, "compat-auth-file", "", "`file` of Docker's format to store credentials in")
	fs.StringVar(&f.registry.CertDir, "cert-dir", "", "`dir`ectory of TLS certificates")
	fs.BoolVar(&f.get, "get-login", false, "print the stored user name and do nothing")
	fs.StringVarP(&f.user, "username", "u", "", "user `name`")
	fs.StringVarP(&f.password, "password", "p", "", "`password`, seen by other users of the machine: better --password-stdin")
	fs.BoolVar(&f.stdin, "password-stdin", false, "read the password from standard input")
	fs.Var(&optionalBool{&f.registry.TLSVerify}, "tls-verify", "require HTTPS and verify certificates")
	fs.Lookup("tls-verify").NoOptDefVal = "true"
	fs.BoolVarP(&f.verbose, "verbose", "v", false, "say where credentials are stored")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if f.compat != "" && !fs.Changed("authfile") {
			f.registry.AuthFile = ""
		}
		l, err := builder.OpenLogins(g.store, f.registry, f.compat)
		if err != nil {
			return err
		}
		return g.login(cmd, l, args[0], &f)
	}
	return cmd
}

func (g *globals) login(cmd *cobra.Command, l *builder.Logins, registry string, f *loginFlags) error {
	stored, err := l.User(registry)
	if f.get {
		if errors.Is(err, builder.ErrNotLoggedIn) {
			return fmt.Errorf("not logged into %s", registry)
		}
		if err == nil {
			_, err = fmt.Fprintln(g.out, stored)
		}
		return err
	}
	if err == nil && f.user == "" && f.password == "" {
		if l.Check(cmd.Context(), registry) == nil {
			_, err := fmt.Fprintf(g.out, "Existing credentials are valid. Already logged in to %s\n", registry)
			return err
		}
		fmt.Fprintln(g.err, "Existing credentials are invalid, please enter valid username and password")
	}
	if err := g.askFor(f, stored); err != nil {
		return err
	}
	where, err := l.Login(cmd.Context(), registry, f.user, f.password)
	if err != nil {
		return err
	}
	if f.verbose {
		fmt.Fprintln(g.err, "Used: ", where)
	}
	_, err = fmt.Fprintln(g.out, "Login Succeeded!")
	return err
}

// askFor fills in what the flags do not say. Without a terminal, standard input is read a line for each.
func (g *globals) askFor(f *loginFlags, stored string) (err error) {
	if f.stdin {
		text, err := io.ReadAll(io.LimitReader(g.in, 1<<20))
		f.password = strings.TrimRight(string(text), "\r\n")
		return err
	}
	if f.user == "" {
		prompt := "Username: "
		if stored != "" {
			prompt = fmt.Sprintf("Username (%s): ", stored)
		}
		fmt.Fprint(g.err, prompt)
		if f.user, err = g.readLine(); err != nil {
			return err
		}
		if f.user == "" {
			f.user = stored
		}
	}
	if f.password == "" {
		f.password, err = g.askPassword()
	}
	return err
}

// askPassword reads a password without showing it.
func (g *globals) askPassword() (string, error) {
	fmt.Fprint(g.err, "Password: ")
	if g.in != nil && term.IsTerminal(int(g.in.Fd())) {
		text, err := term.ReadPassword(int(g.in.Fd()))
		fmt.Fprintln(g.err)
		return string(text), err
	}
	return g.readLine()
}

// readLine reads standard input up to the end of a line and no further.
func (g *globals) readLine() (string, error) {
	if g.in == nil {
		return "", errors.New("nothing to read an answer from")
	}
	if term.IsTerminal(int(g.in.Fd())) {
		text, err := bufio.NewReader(g.in).ReadString('\n')
		return strings.TrimRight(text, "\r\n"), err
	}
	var line []byte
	for b := []byte{0}; ; {
		n, err := g.in.Read(b)
		if n == 1 && b[0] != '\n' {
			line = append(line, b[0])
			continue
		}
		if n == 1 || errors.Is(err, io.EOF) && len(line) > 0 {
			return strings.TrimRight(string(line), "\r"), nil
		}
		if err != nil {
			return "", fmt.Errorf("reading standard input: %w", err)
		}
	}
}

func newLogoutCmd(g *globals) *cobra.Command {
	var r builder.Registry
	var compat string
	var all bool
	cmd := &cobra.Command{Use: "logout [flags] [REGISTRY]", Short: "Forget credentials for registries", Example: "  logout registry.example\n  logout --all",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case all && len(args) > 0:
				return errors.New("--all takes no arguments")
			case !all && len(args) == 0:
				return errors.New("please specify a registry to logout from")
			case len(args) > 1:
				return errors.New("too many arguments specified")
			}
			return nil
		}}
	fs := cmd.Flags()
	fs.StringVar(&r.AuthFile, "authfile", g.env.plain("REGISTRY_AUTH_FILE"), "`file` with credentials")
	fs.StringVar(&compat, "compat-auth-file", "", "`file` of Docker's format with credentials")
	fs.BoolVarP(&all, "all", "a", false, "all registries")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if compat != "" && !fs.Changed("authfile") {
			r.AuthFile = ""
		}
		l, err := builder.OpenLogins(g.store, r, compat)
		if err != nil {
			return err
		}
		return g.logout(l, args)
	}
	return cmd
}

func (g *globals) logout(l *builder.Logins, args []string) error {
	if len(args) == 0 {
		if err := l.LogoutAll(); err != nil {
			return err
		}
		_, err := fmt.Fprintln(g.out, "Removed login credentials for all registries")
		return err
	}
	external, err := l.Logout(args[0])
	if err != nil {
		return err
	}
	text := "Removed login credentials for " + args[0]
	if external {
		text = fmt.Sprintf("Not logged into %s with current tool. Existing credentials were established via docker login. Please use docker logout instead.", args[0])
	}
	_, err = fmt.Fprintln(g.out, text)
	return err
}
