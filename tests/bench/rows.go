package main

// A row is one operation: a shell script in which "tool" is the program on its
// store, $STORE, and $PROGRAM the program alone.
type row struct {
	name   string
	repeat int // how often one run does it: many for what takes milliseconds
	script string
	aim    float64 // the largest CPU ratio, ours to the peer's; 0 for none
}

// rows returns what is measured, with the aims of the issues.
func rows() []row {
	return []row{
		{"version", 20, "$PROGRAM version >/dev/null", 0.25},
		{"images, empty store", 10, "(STORE=$STORE-empty; tool images >/dev/null)", 0.75},
		{"from + rm of a local image", 10, "tool rm $(tool from base) >/dev/null", 0.6},
		{"copy of one file", 3, "c=$(tool from base); tool copy -q $c file /file >/dev/null; tool rm $c >/dev/null", 0},
		{"run true", 2, "c=$(tool from base); tool run $c -- true; tool rm $c >/dev/null", 0},
		{"run true, chroot isolation", 2, "c=$(tool from base); tool run --isolation chroot $c -- true; tool rm $c >/dev/null", 0},
		{"commit", 3, "c=$(tool from base); tool commit -q $c made >/dev/null; tool rm $c >/dev/null", 0},
		{"script of 14 commands", 1, script14, 0.15},
		{"Dockerfile, 5 steps, no cache", 1, "mkdir -p ctx; cp file ctx/; printf 'FROM base\\nCOPY file /file\\nRUN cat /file\\nENV A=b\\nLABEL c=d\\n' >ctx/Dockerfile; tool bud --no-cache -q ctx >/dev/null", 0},
		{"the same, cached", 1, "tool bud --layers -q ctx >/dev/null", 0},
	}
}

// script14 is from, copy, config five times, run five times, commit, rm.
const script14 = `c=$(tool from base)
tool copy -q $c file /file >/dev/null
tool config --env A=b $c
tool config --label c=d $c
tool config --cmd true $c
tool config --workingdir /srv $c
tool config --user 1000 $c
for i in 1 2 3 4 5; do tool run $c -- true; done
tool commit -q $c made >/dev/null
tool rm $c >/dev/null`
