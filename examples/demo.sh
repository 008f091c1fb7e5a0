#!/usr/bin/env bash
# The main job on an embedded default: synthetic corpora -> four stages of shards on local Ray -> a tiny model through four
# training stages -> an answer about an image and one about a video.    usage: demo.sh DIR
set -euo pipefail
dir=${1:?usage: demo.sh DIR}
# Optimizer steps of the four stages: the first has a random, frozen language model, from which little can be learnt.
steps=(${STEPS:-30 160 180 200})
# These corpora are small and repeat themselves: higher rates than the small stages' own, which real text needs, learn more in few steps.
# A tenth of the plain text: its samples are long, and nearly all of the loss would be theirs.
fast=(--rate language=3e-3 --rate projector=3e-3 --rate vision=3e-3 --repeat text=0.1)

# Scenes and clips of few patches: a step on a CPU holds more of them.
[ -f "$dir/data/truth.jsonl" ] || vl3-curate synth "$dir/data" --samples "${SAMPLES:-1500}" --small

# The stages share what they measured. Reports of two datasets are written here; `vl3-curate report DIR` writes any other.
for stage in stage1 stage2 stage3 stage4; do
  report=(); [ "$stage" = stage3 ] || report=(--no-report)
  vl3-curate run "$stage" --data "$dir/data" --out "$dir/$stage" --measures "$dir/measures" --executor ray --workers 2 "${report[@]}"
done
vl3-curate stats "$dir/stage3"
vl3-curate quarantine "$dir/stage3"

# The small weights that come along, on pictures of which many are wrongly captioned: the encoder drops those whose caption does not
# fit, the captioner describes them all anew.
[ -f "$dir/small/truth.jsonl" ] || vl3-curate synth "$dir/small" --samples 600 --defects 0.4 --small
for recipe in filtered curated; do
  report=(); [ "$recipe" = curated ] || report=(--no-report)
  vl3-curate run "examples/closed_loop.py:$recipe" --data "$dir/small" --out "$dir/$recipe" --executor local --workers 1 "${report[@]}"
done
python examples/captions.py "$dir/curated"

previous=()
for number in 1 2 3 4; do
  vl3-train run "stage$number" --model tiny --shards "$dir/stage$number" --out "$dir/runs/stage$number" \
    --steps "${steps[number - 1]}" "${previous[@]}"
  previous=(--init "$dir/runs/stage$number" "${fast[@]}")
done

# Shards are plain tars: take a picture and a clip out of them.
first() { tar -tf "$dir/$1/shards/000000.tar" | grep "$2" | head -n 1 || true; }
tar -xOf "$dir/stage1/shards/000000.tar" "$(first stage1 '\.0\.jpg$')" > "$dir/picture.jpg"
tar -xOf "$dir/stage4/shards/000000.tar" "$(first stage4 '\.0\.mp4$')" > "$dir/clip.mp4"
echo "Q: (picture.jpg) Describe the picture."
vl3-train generate "$dir/runs/stage4" --image "$dir/picture.jpg" --prompt "Describe the picture."
echo "Q: (clip.mp4)"  # without a question, as clips with captions are trained on
vl3-train generate "$dir/runs/stage4" --video "$dir/clip.mp4" --prompt ""
echo "Look at $dir/stage3/report.html and $dir/curated/report.html, and at $dir/runs/stage4/metrics.jsonl"
