// Command pulumi-resource-libvirt serves the Terraform provider for libvirt to the Pulumi engine.
//
// It stands in for the plugin of pulumi-libvirt 0.5.4 where that cannot be downloaded. It wraps the
// newest upstream release that is published as a Go module, and reports the version of pulumi-libvirt
// that wrapped the same upstream release.
package main

import (
	"github.com/dmacvicar/terraform-provider-libvirt/libvirt"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/tokens"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
)

// version is the pulumi-libvirt release that bridged terraform-provider-libvirt 0.7.6.
const version = "0.4.8"

func provider() tfbridge.ProviderInfo {
	info := tfbridge.ProviderInfo{
		Name:         "libvirt",
		Version:      version,
		P:            shim.NewProvider(libvirt.Provider()),
		MetadataInfo: tfbridge.NewProviderMetadata([]byte("{}")),
		Resources: map[string]*tfbridge.ResourceInfo{
			// The automatic name would be "cloudinitDisk", upstream writes the two words as one.
			"libvirt_cloudinit_disk": {Tok: "libvirt:index/cloudInitDisk:CloudInitDisk"},
		},
	}
	info.MustComputeTokens(tokens.SingleModule("libvirt_", "index", tokens.MakeStandard("libvirt")))
	info.SetAutonaming(255, "-")
	return info
}

func main() {
	tfbridge.Main("libvirt", version, provider(), nil)
}
