"""The manifest that `batcher init` writes: every key, and a campaign that runs against the simulator."""

STARTER = """\
# A campaign for batcher. Look at it first, it costs nothing:   batcher plan THIS_FILE
# Try it without a key and without money:                       batcher run THIS_FILE --simulate
# For help while you type keep the next line, and the file (`batcher schema > manifest.schema.json` makes it anew).
# yaml-language-server: $schema=manifest.schema.json

campaign: starter                # its name in the ledger: a-z 0-9 . _ -
model: grok-imagine-video        # `batcher models` lists them

params:                          # for every job
  mode: normal                   # fun | normal | spicy
  resolution: 480p               # 480p | 720p

matrix:                          # every combination makes jobs
  aspect_ratio: ["9:16", "16:9"] # a name that the model knows sets that param
  product: [watch, ring]         # any other name is a variable for the texts below
  exclude:                       # takes combinations away
    - {product: ring, aspect_ratio: "16:9"}
  # include:                     # adds to combinations, or adds one
  #   - {product: pendant, aspect_ratio: "9:16"}

prompts:
  # A text over the variables: {{ name }}, {{ name | upper }}, {{ 'a' if name == 'b' else 'c' }}
  - A cinematic product reveal of a {{ product }} with smooth camera movement

  - name: dunes                  # used in file names, reports and --only; else made from the text
    prompt: "{{ product }} on desert dunes at {{ time }}"
    vars: {time: dawn}           # variables of this prompt
    params: {mode: fun}          # nearest wins: this, not the campaign's
    matrix: {duration: [6, 10]}  # seconds; multiplies with the campaign's matrix
    # references: ["refs/{{ product }}.png"]   # instead of the campaign's
    repeat: 2                    # two takes of each job

  # - file: prompts.csv          # .csv, .tsv, .xlsx (header row), .jsonl or .txt; columns set params and variables
  #   columns: {SKU: name}       # their header: our name; sheet: Q3 for a workbook's sheet
  #   prompt: "{{ title }}, at {{ time }}"     # else the column `prompt` of each row is its text

# references:                    # each makes jobs of its own; one reference a job
#   - refs/*.png                 # files beside this one
#   - https://example.com/a.png  # or a URL
#   - null                       # or none

# repeat: 1                      # takes of each job

# tags: {client: al-noor}        # kept with each job, as its variables are, for reports to group and filter by

# What is not set has these values, but for budget, which has none:
# limits: {submit: 30/minute, requests: 120/minute, in_flight: 20, downloads: 4}
# polling: {first: 3s, every: 5s, max: 30s, give_up: 1h}
# retries: {times: 8, replay_window: 1h, outage: 1h}
# stop: {failures_in_a_row: 10}
# results: {download: true, sidecar: false, name: "{{ prompt_name }}-{{ job }}"}
# Nothing of these, if they are not set; the night, and what stops a run beside failures_in_a_row:
#   window: {hours: "22:00-06:00", timezone: Europe/Berlin, days: [mon-fri]}
#   ready_by: "07:00"
#   stop: {failed: 10%, price_above: 12, blocked_in_a_row: 5}

budget: {campaign: 500}          # credits; also day: 200 (all campaigns), keep: 50 (leave in the wallet),
                                 # allowance: {name: night-0611, total: 3000} (shared by all campaigns that name it)
"""
