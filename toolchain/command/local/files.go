package local

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/gobwas/glob"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

type rule struct {
	pattern glob.Glob
	exclude bool
}

// filesAsAssets finds the files below dir that the patterns select, by path relative to dir with
// slashes. The patterns are read in order, the last one that matches decides, "!" before one excludes.
func filesAsAssets(dir string, patterns []string) (map[string]*resource.Asset, error) {
	rules := make([]rule, 0, len(patterns))
	for _, text := range patterns {
		pattern, err := glob.Compile(strings.TrimPrefix(text, "!"), '/')
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", text, err)
		}
		rules = append(rules, rule{pattern, strings.HasPrefix(text, "!")})
	}
	assets := map[string]*resource.Asset{}
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if !selected(rules, filepath.ToSlash(relative)) {
			return nil
		}
		asset, err := resource.NewPathAsset(name)
		assets[filepath.ToSlash(relative)] = asset
		return err
	})
	return assets, err
}

func selected(rules []rule, name string) bool {
	chosen := false
	for _, r := range rules {
		if r.pattern.Match(name) {
			chosen = !r.exclude
		}
	}
	return chosen
}
