#!/usr/bin/env bash
# A context and a question with nothing but curl: ask.sh FILE QUESTION [BASE_URL [MODEL]]
set -euo pipefail
file=$1 question=$2 base=${3:-http://127.0.0.1:7718/v1} model=${4:-qwen2.5-coder-0.5b}

# The text is the body; the reply names the context, whose build goes on.
context=$(curl -sSf "$base/contexts?model=$model&keep_ratio=0.5" -H 'content-type: text/plain' --data-binary "@$file" |
  grep -o '"name":"contexts/[^"]*"' | head -1 | cut -d'"' -f4)

# Server-sent events: the context now, then every change, until it is active, failed or deleted.
curl -sSfN "$base/$context/events" | grep -q STATE_ACTIVE

# OpenAI's chat completions, about the stored context.
body=$(printf '{"model":"%s","context":"%s","max_tokens":48,"messages":[{"role":"user","content":"%s"}]}' \
  "$model" "$context" "${question//\"/\\\"}")
curl -sSf "$base/chat/completions" -H 'content-type: application/json' -d "$body"
echo
