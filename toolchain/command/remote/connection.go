// Package remote holds the resources that work over SSH.
package remote

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/pulumi/pulumi-go-provider/infer"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// Endpoint is one SSH server, who to be there, and how long to try. The keys and passwords are secret
// by themselves within a connection that is secret as a whole, as in the official plugin: the engine
// compares a value with its seal.
type Endpoint struct {
	Host               string   `pulumi:"host"`
	User               *string  `pulumi:"user,optional"`
	Port               *float64 `pulumi:"port,optional"`
	Password           *string  `pulumi:"password,optional" provider:"secret"`
	PrivateKey         *string  `pulumi:"privateKey,optional" provider:"secret"`
	PrivateKeyPassword *string  `pulumi:"privateKeyPassword,optional" provider:"secret"`
	HostKey            *string  `pulumi:"hostKey,optional"`
	AgentSocketPath    *string  `pulumi:"agentSocketPath,optional"`
	DialErrorLimit     *int     `pulumi:"dialErrorLimit,optional"`
	PerDialTimeout     *int     `pulumi:"perDialTimeout,optional"`
}

// Connection is how to reach the host a resource works on.
type Connection struct {
	Endpoint
	Proxy *ProxyConnection `pulumi:"proxy,optional"`
}

// ProxyConnection is how to reach the bastion host in front of it.
type ProxyConnection struct {
	Endpoint
}

// Annotate describes the connection in the schema.
func (c *Connection) Annotate(a infer.Annotator) {
	a.Describe(&c, "Instructions for how to connect to a remote endpoint.")
	c.Endpoint.annotate(a)
	a.Describe(&c.Proxy, "The bastion host to go through.")
}

// Annotate describes the bastion host in the schema.
func (c *ProxyConnection) Annotate(a infer.Annotator) {
	a.Describe(&c, "Instructions for how to connect to a remote endpoint via a bastion host.")
	c.Endpoint.annotate(a)
}

// annotate sets the defaults that are written into the state, so that they never show as a change.
func (e *Endpoint) annotate(a infer.Annotator) {
	a.Describe(&e.Host, "Address of the SSH server.")
	a.Describe(&e.User, "User to log in as.")
	a.SetDefault(&e.User, "root")
	a.Describe(&e.Port, "TCP port of the SSH server.")
	a.SetDefault(&e.Port, 22)
	a.Describe(&e.Password, "Password of the user; also answers keyboard-interactive questions.")
	a.Describe(&e.PrivateKey, "Text of the private key; tried before the password.")
	a.Describe(&e.PrivateKeyPassword, "Password that opens the private key.")
	a.Describe(&e.HostKey, "Public key the server must prove to hold. Unset: any key is accepted.")
	a.Describe(&e.AgentSocketPath, "Socket of an SSH agent. Unset: SSH_AUTH_SOCK, where that is set.")
	a.Describe(&e.DialErrorLimit, "How many failed attempts to connect are allowed; -1 means any number.")
	a.SetDefault(&e.DialErrorLimit, 10)
	a.Describe(&e.PerDialTimeout, "Seconds one attempt to connect may take; 0 means any time.")
	a.SetDefault(&e.PerDialTimeout, 15)
}

func (e *Endpoint) address() string {
	port := 22
	if e.Port != nil {
		port = int(*e.Port)
	}
	return net.JoinHostPort(e.Host, strconv.Itoa(port))
}

// clientConfig fails on what no further attempt can mend: keys that cannot be read, a missing agent.
func (e *Endpoint) clientConfig() (*ssh.ClientConfig, func(), error) {
	config := &ssh.ClientConfig{User: "root", HostKeyCallback: ssh.InsecureIgnoreHostKey()}
	if e.User != nil {
		config.User = *e.User
	}
	if e.HostKey != nil {
		if err := pinHostKey(config, *e.HostKey); err != nil {
			return nil, nil, err
		}
	}
	if e.PrivateKey != nil {
		signer, err := e.signer()
		if err != nil {
			return nil, nil, err
		}
		config.Auth = append(config.Auth, ssh.PublicKeys(signer))
	}
	if e.Password != nil {
		config.Auth = append(config.Auth, passwordMethods(*e.Password)...)
	}
	release, err := e.addAgent(config)
	return config, release, err
}

func (e *Endpoint) signer() (ssh.Signer, error) {
	var signer ssh.Signer
	var err error
	if e.PrivateKeyPassword != nil {
		signer, err = ssh.ParsePrivateKeyWithPassphrase([]byte(*e.PrivateKey), []byte(*e.PrivateKeyPassword))
	} else {
		signer, err = ssh.ParsePrivateKey([]byte(*e.PrivateKey))
	}
	if err != nil {
		return nil, fmt.Errorf("connection.privateKey cannot be used: %w", err)
	}
	return signer, nil
}

func passwordMethods(password string) []ssh.AuthMethod {
	answer := func(_, _ string, questions []string, _ []bool) ([]string, error) {
		answers := make([]string, len(questions))
		for i := range answers {
			answers[i] = password
		}
		return answers, nil
	}
	return []ssh.AuthMethod{ssh.Password(password), ssh.KeyboardInteractive(answer)}
}

func pinHostKey(config *ssh.ClientConfig, text string) error {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil {
		return fmt.Errorf("connection.hostKey is not a public key in the form of authorized_keys: %w", err)
	}
	config.HostKeyCallback = ssh.FixedHostKey(key)
	config.HostKeyAlgorithms = []string{key.Type()}
	if key.Type() == ssh.KeyAlgoRSA {
		// The same key signs with SHA-2; servers of today refuse its SHA-1 signatures.
		config.HostKeyAlgorithms = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA}
	}
	return nil
}

// addAgent adds the keys of an SSH agent. An agent nobody asked for by name may be gone as long as
// there is another way to log in.
func (e *Endpoint) addAgent(config *ssh.ClientConfig) (func(), error) {
	path, named := os.Getenv("SSH_AUTH_SOCK"), false
	if e.AgentSocketPath != nil {
		path, named = *e.AgentSocketPath, true
	}
	if path == "" {
		return func() {}, nil
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		if !named && len(config.Auth) > 0 {
			return func() {}, nil
		}
		return nil, errors.Join(errors.New("the SSH agent cannot be reached"), err)
	}
	config.Auth = append(config.Auth, ssh.PublicKeysCallback(agent.NewClient(conn).Signers))
	return func() { _ = conn.Close() }, nil
}
