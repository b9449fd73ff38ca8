package imagebuildah

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/imagebuildah/plan"
)

// save keeps a stage that is not the last one as a nameless image (Options.SaveStages).
func (st *stage) save(ctx context.Context) error {
	if !st.b.o.SaveStages || st.def.Index == st.b.target || len(st.def.Commands) == 0 {
		return nil
	}
	end := st.final(st.b, st.part)
	for _, l := range st.b.o.LayerLabels {
		k, v, _ := strings.Cut(l, "=")
		if err := config.Label(k, v)(end.cfg); err != nil {
			return err
		}
	}
	end.baseAnnotations()
	created := end.fillTimes()
	end.cfg.Created = &created
	img, err := st.b.s.WriteImage(ctx, end.cfg, st.top, nil, st.b.o.Output)
	if err == nil {
		st.saved = img.ID()
	}
	return err
}

// labelled puts the LABEL of Options.StageLabels in front of a stage's instructions (exact.md §11.2.3). base is its FROM, expanded.
func (st *stage) labelled(base string) error {
	if !st.b.o.StageLabels || len(st.def.Commands) == 0 {
		return nil
	}
	if k, ok := st.b.baseStage(st.def.Index); ok && st.b.done[k].saved != "" {
		base = st.b.done[k].saved
	}
	name := first(st.def.Name, strconv.Itoa(st.def.Index))
	cmd, err := plan.Instruction(fmt.Sprintf("LABEL %q=%q %q=%q", "io.buildah.stage.name", name, "io.buildah.stage.base", base))
	if err != nil {
		return err
	}
	st.def.Commands = append([]instructions.Command{cmd}, st.def.Commands...)
	return nil
}
