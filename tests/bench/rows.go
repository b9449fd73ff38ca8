package main

// A row is one operation: a shell script in which "tool" is the program on its
// store, $STORE, and $PROGRAM the program alone.
type row struct {
	name   string
	repeat int // how often one run does it: many for what takes milliseconds
	script string
	aim    float64 // the largest CPU ratio, ours to the peer's; 0 for none
}

// prepared is a row with work before and after it that is not measured.
type prepared struct {
	row
	before, after string
}

// rows returns what is measured, with the aims of the issues.
func rows() []prepared {
	return []prepared{
		{row: row{"version", 20, "$PROGRAM version >/dev/null", 0.25}},
		{row: row{"images, empty store", 10, "(STORE=$STORE-empty; tool images >/dev/null)", 0.75}},
		{row: row{"from + rm of a local image", 10, "tool rm $(tool from base) >/dev/null", 0.6}},
		{row: row{"copy of one file", 3, "c=$(tool from base); tool copy -q $c file /file >/dev/null; tool rm $c >/dev/null", 0}},
		{row: row{"commit", 3, "c=$(tool from base); tool commit -q $c made >/dev/null; tool rm $c >/dev/null", 0}},
		{row: row{"script of 14 commands", 1, script14, 0.15}},
		{row: row{"Dockerfile, 5 steps, no cache", 3, "tool bud --no-cache -q ctx5 >/dev/null", 0}, before: steps5},
		{row: row{"the same, cached", 5, "tool bud --layers -q ctx5 >/dev/null", 0}, before: steps5},
		{row: row{"Dockerfile, 30 steps, cold", 1, "tool bud --no-cache --layers -q ctx30 >/dev/null", 0.08}, before: steps30},
		{row: row{"30 steps, cached", 3, "tool bud --layers -q ctx30 >/dev/null", 0.02}, before: steps30},
		{row: row{"30 steps, the last line changed", 1, "tool bud --layers -q ctx30 >/dev/null", 0}, before: steps30 + "echo \"LABEL now=$(date +%N)\" >>ctx30/Dockerfile; echo 'RUN echo last' >>ctx30/Dockerfile", after: "sed -i '/^LABEL\\|last$/d' ctx30/Dockerfile"},
		{row: row{"eight stages of sleep 0.5, 4 at once", 1, "tool bud --no-cache --jobs 4 -q ctx8 >/dev/null", 0}, before: stages8},
		{row: row{"200 MB context, unchanged", 1, "tool bud --layers -q ctx200 >/dev/null", 0}, before: context200},
		{row: row{"commit of 64 MB", 1, "tool commit -q --rm $(cat ctr) made >/dev/null", 0}, before: "c=$(tool from base); cp mixed $(tool mount $c)/mixed; tool umount $c >/dev/null; echo $c >ctr"},
		{row: row{"push of 64 MB, gzip", 1, "tool push -q big oci:out:1", 0.9}, before: "rm -rf out"},
		{row: row{"push of 64 MB, zstd", 1, "tool push -q --compression-format zstd big oci:out:1", 0.65}, before: "rm -rf out"},
		{row: row{"second push to a registry", 5, "tool push -q --tls-verify=false big docker://$REGISTRY/app:1", 0.3}},
		{row: row{"pull of 64 MB into an empty store", 1, "(STORE=$STORE-pull; tool pull -q --tls-verify=false docker://$REGISTRY/app:1 >/dev/null)", 0.5}, after: "STORE=$STORE-pull; tool rmi -a -f >/dev/null"},
	}
}

// crowded comes last: whoever opens a storage reads its list of images, which then is long.
func crowded() prepared {
	return prepared{row: row{"30 steps, cached, 1,000 images in the store", 3, "tool bud --layers -q ctx30 >/dev/null", 0}, before: steps30 + many}
}

// runs are the latencies of one command on a container that is there.
func runs() []prepared {
	const before, after = "tool from --name ready base >/dev/null", "tool rm ready >/dev/null"
	return []prepared{
		{row{"commit with nothing changed", 5, "tool commit -q ready made >/dev/null", 0.25}, before, after},
		{row{"run true", 5, "tool run ready -- true", 0.1}, before, after},
		{row{"run true, isolation chroot on both sides", 5, "tool run --isolation chroot ready -- true", 0.1}, before, after},
		{row{"run true, runc", 3, "tool run --isolation oci --runtime runc ready -- true", 0.25}, before, after},
		{row{"run true, crun; peer: chroot isolation", 5, through("oci --runtime crun"), 0.15}, before, after},
		{row{"run true, runc; peer: chroot isolation", 5, through("oci --runtime runc"), 0.25}, before, after},
	}
}

// through runs a command through an isolation of ours, and through the peer's quickest one.
func through(isolation string) string {
	return "if test $PROGRAM = $SLIPWAY; then set -- " + isolation + "; else set -- chroot; fi; tool run --isolation \"$@\" ready -- true"
}

// steps5 writes a Dockerfile of five lines.
const steps5 = "mkdir -p ctx5; cp file ctx5/; printf 'FROM base\\nCOPY file /file\\nRUN cat /file\\nENV A=b\\nLABEL c=d\\n' >ctx5/Dockerfile; "

// many puts a thousand images into the store, once: by Slipway in both, as it is quicker and they are images like others.
const many = `test -e many || { for i in $(seq 1000); do printf 'FROM base\nLABEL n=%s\n' $i | $SLIPWAY --root $STORE --runroot $RUNS/store bud -q - >/dev/null; done; touch many; }; `

// steps30 writes a Dockerfile of 30 steps: ten RUN, ten COPY, ten that only change the configuration.
const steps30 = `test -e ctx30/f10 || { mkdir -p ctx30; { echo FROM base; for i in 1 2 3 4 5 6 7 8 9 10; do echo "ENV V$i=$i"; echo "COPY f$i /f$i"; echo "RUN cat /f$i >/g$i"; echo $i >ctx30/f$i; done; } >ctx30/Dockerfile; }; `

// context200 writes a context of 200 MB and a Dockerfile that copies it.
const context200 = `mkdir -p ctx200; test -e ctx200/big || head -c 200000000 /dev/urandom >ctx200/big; test -e ctx200/Dockerfile || printf 'FROM base\nCOPY . /\n' >ctx200/Dockerfile; `

// stages8 writes a Dockerfile of eight stages that do not need each other, and one that needs all.
const stages8 = `mkdir -p ctx8; { for i in 1 2 3 4 5 6 7 8; do echo "FROM base AS s$i"; echo "RUN sleep 0.5; echo $i >/r$i"; done; echo FROM scratch; for i in 1 2 3 4 5 6 7 8; do echo "COPY --from=s$i /r$i /"; done; } >ctx8/Dockerfile
`

// stages2 writes a Dockerfile whose last stage has something to do until the other one is there.
const stages2 = `mkdir -p ctx2; printf 'FROM base AS a\nRUN sleep 0.5; echo a >/a\nFROM base\nRUN sleep 0.5; echo b >/b\nCOPY --from=a /a /\n' >ctx2/Dockerfile
`

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
