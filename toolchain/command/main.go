// Command pulumi-resource-command runs commands on the operator's computer and over SSH for Pulumi.
//
// It stands in for the plugin of pulumi-command 1.2.1 where that cannot be downloaded: same tokens,
// inputs, outputs and life cycle for local.Command, remote.Command and remote.CopyToRemote, so that a
// stack made with one of the two shows no difference under the other. The deprecated remote.CopyFile
// and the function local.run are left out; the engine refuses them by name.
package main

import (
	"context"
	"fmt"
	"os"

	provider "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi-go-provider/middleware/schema"

	"lvs-dr-lab/toolchain/command/local"
	"lvs-dr-lab/toolchain/command/remote"
)

// version is the release of pulumi-command whose behaviour is reproduced.
const version = "1.2.1"

func main() {
	served := infer.Provider(infer.Options{
		Metadata: schema.Metadata{
			DisplayName: "Command",
			Description: "Commands as Pulumi resources, here and over SSH (stand-in for pulumi-command).",
		},
		Resources: []infer.InferredResource{
			infer.Resource(&local.Command{}),
			infer.Resource(&remote.Command{}),
			infer.Resource(&remote.CopyToRemote{}),
		},
	})
	if err := provider.RunProvider(context.Background(), "command", version, served); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
