package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/pkg/sftp"
	provider "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi-go-provider/infer/types"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// CopyToRemote is a file or directory on a remote host, copied over SFTP.
type CopyToRemote struct{}

// CopyToRemoteInputs is what a program says about a copy.
type CopyToRemoteInputs struct {
	Connection *Connection          `pulumi:"connection" provider:"secret"`
	Source     types.AssetOrArchive `pulumi:"source"`
	RemotePath string               `pulumi:"remotePath"`
	Triggers   *[]any               `pulumi:"triggers,optional" provider:"replaceOnChanges"`
}

// CopyToRemoteOutputs repeats the inputs: a copy has no result of its own.
type CopyToRemoteOutputs struct {
	CopyToRemoteInputs
}

// Annotate describes the resource in the schema.
func (c *CopyToRemote) Annotate(a infer.Annotator) {
	a.Describe(&c, "A file or directory copied to a remote host over SFTP. Deleting it leaves the copy.")
}

// Annotate describes the inputs in the schema.
func (c *CopyToRemoteInputs) Annotate(a infer.Annotator) {
	a.Describe(&c.Connection, "How to reach the host.")
	a.Describe(&c.Source, "A FileAsset, StringAsset or FileArchive. Archives are copied, not unpacked.")
	a.Describe(&c.RemotePath, "Where to copy to; missing parent directories are made.")
	a.Describe(&c.Triggers, "Any values; a change of one replaces the resource.")
}

// Check refuses sources that cannot be copied.
func (*CopyToRemote) Check(
	ctx context.Context, req infer.CheckRequest,
) (infer.CheckResponse[CopyToRemoteInputs], error) {
	inputs, failures, err := infer.DefaultCheck[CopyToRemoteInputs](ctx, req.NewInputs)
	if err == nil {
		if reason := unfit(inputs.Source); reason != "" {
			failures = append(failures, provider.CheckFailure{Property: "source", Reason: reason})
		}
	}
	return infer.CheckResponse[CopyToRemoteInputs]{Inputs: inputs, Failures: failures}, err
}

func unfit(source types.AssetOrArchive) string {
	switch {
	case source.Asset != nil && !source.Asset.IsPath() && !source.Asset.IsText():
		return "an asset must be a FileAsset or a StringAsset"
	case source.Archive != nil && !source.Archive.IsPath():
		return "an archive must be a FileArchive"
	case source.Asset == nil && source.Archive == nil:
		return "either asset or archive must be set, and known before anything is created"
	}
	return ""
}

// Create copies the source.
func (*CopyToRemote) Create(
	ctx context.Context, req infer.CreateRequest[CopyToRemoteInputs],
) (infer.CreateResponse[CopyToRemoteOutputs], error) {
	state := CopyToRemoteOutputs{req.Inputs}
	id, err := resource.NewUniqueHex("", 8, 0)
	if err == nil && !req.DryRun {
		err = state.copy(ctx)
	}
	return infer.CreateResponse[CopyToRemoteOutputs]{ID: id, Output: state}, err
}

// Update copies again if the source or its destination changed; a new connection alone is only noted.
func (*CopyToRemote) Update(
	ctx context.Context, req infer.UpdateRequest[CopyToRemoteInputs, CopyToRemoteOutputs],
) (infer.UpdateResponse[CopyToRemoteOutputs], error) {
	state := CopyToRemoteOutputs{req.Inputs}
	changed := hash(req.Inputs.Source) != hash(req.State.Source) || req.Inputs.RemotePath != req.State.RemotePath
	var err error
	if changed && !req.DryRun {
		err = state.copy(ctx)
	}
	return infer.UpdateResponse[CopyToRemoteOutputs]{Output: state}, err
}

func hash(source types.AssetOrArchive) string {
	switch {
	case source.Asset != nil:
		return source.Asset.Hash
	case source.Archive != nil:
		return source.Archive.Hash
	}
	return ""
}

func (c *CopyToRemoteInputs) copy(ctx context.Context) error {
	host, err := c.Connection.dial(ctx)
	if err != nil {
		return err
	}
	defer host.Close()
	stop := context.AfterFunc(ctx, func() { _ = host.Client.Close() })
	defer stop()
	session, err := sftp.NewClient(host.Client)
	if err != nil {
		return fmt.Errorf("no SFTP on %s: %w", c.Connection.address(), err)
	}
	defer session.Close()
	if err := c.copyOver(session); err != nil {
		return fmt.Errorf("copying to %s:%s: %w", c.Connection.Host, c.RemotePath, errors.Join(ctx.Err(), err))
	}
	return nil
}

func (c *CopyToRemoteInputs) copyOver(session *sftp.Client) error {
	if c.Source.Asset != nil && c.Source.Asset.IsText() {
		if isDir(session, c.RemotePath) {
			return errors.New("a text needs the path of a file, this is a directory")
		}
		return write(session, strings.NewReader(c.Source.Asset.Text), c.RemotePath)
	}
	local := ""
	if c.Source.Asset != nil {
		local = c.Source.Asset.Path
	} else {
		local = c.Source.Archive.Path
	}
	about, err := os.Stat(local)
	if err != nil {
		return err
	}
	if about.IsDir() {
		return copyDir(session, local, c.RemotePath)
	}
	target := c.RemotePath
	if isDir(session, target) {
		target = path.Join(target, filepath.Base(local))
	}
	return copyFile(session, local, target)
}

// copyDir copies a directory into target, or only what it holds where local ends with a slash.
func copyDir(session *sftp.Client, local, target string) error {
	if about, err := session.Stat(target); err == nil && !about.IsDir() {
		return errors.New("a directory cannot be copied onto a file")
	}
	if !strings.HasSuffix(local, "/") {
		target = path.Join(target, filepath.Base(local))
	}
	return filepath.WalkDir(local, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(local, name)
		if err != nil {
			return err
		}
		there := path.Join(target, filepath.ToSlash(below))
		if entry.IsDir() {
			return session.MkdirAll(there)
		}
		return copyFile(session, name, there)
	})
}

func copyFile(session *sftp.Client, local, target string) error {
	file, err := os.Open(local)
	if err != nil {
		return err
	}
	defer file.Close()
	return write(session, file, target)
}

func write(session *sftp.Client, content io.Reader, target string) error {
	if err := session.MkdirAll(path.Dir(target)); err != nil {
		return fmt.Errorf("making the directory of %s: %w", target, err)
	}
	file, err := session.Create(target)
	if err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	_, err = file.ReadFrom(content)
	return errors.Join(err, file.Close())
}

func isDir(session *sftp.Client, name string) bool {
	about, err := session.Stat(name)
	return err == nil && about.IsDir()
}
