# shellcheck shell=bash
# Sourced by the scripts that start runs on other machines. With --dry-run they
# print what they would do, as a shell script that does it; they then need none
# of their tools and change nothing.
#
# Defines $verb, $dry_run, @words, @arguments and the functions
#   read_options VERBS OPTIONS "$@"   reads the command line, see there;
#   require OPTION MEANING            ends unless --OPTION was given;
#   require_arguments                 ends unless there is something to run;
#   need_tool TOOL HOW_TO_GET_IT      ends if a tool is missing;
#   run COMMAND...                    runs a command, or prints it;
#   feed TEXT COMMAND...              the same, with TEXT as its input;
#   quote WORD...                     prints words as a shell reads them back.

# shellcheck source-path=SCRIPTDIR source=environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

verb=''
dry_run=''
words=()
arguments=()

# Reads a verb, one of the words in $1; --key=value into the variable key where
# $2 has `key=`, and --flag, into flag, where it has `flag`; other words into
# words, and all that stands behind -- into arguments.
read_options() {
  local verbs="$1" known="$2" key
  shift 2
  while (($#)); do
    case "$1" in
      --)
        shift
        arguments=("$@")
        break
        ;;
      --help)
        usage
        exit
        ;;
      --dry-run) dry_run=yes ;;
      -*)
        key="${1#--}"
        case "$1" in
          *=*) key="${key%%=*}=" ;;
        esac
        [[ " $known " == *" $key "* ]] ||
          die "unknown option $1; known are --${known// / --} --dry-run" \
            "--help. What is for mmjsd_jax.main stands behind --."
        key="${key%=}"
        case "$1" in
          *=*) printf -v "${key//-/_}" '%s' "${1#*=}" ;;
          *) printf -v "$key" yes ;;
        esac
        ;;
      *)
        if [[ -z "$verb" ]]; then verb="$1"; else words+=("$1"); fi
        ;;
    esac
    shift
  done
  [[ -n "$verb" && " $verbs " == *" $verb "* ]] ||
    die "what to do must be one of: $verbs; got '$verb'. --help tells more."
}

# The comment at the head of the script.
usage() {
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
}

require() {
  local variable="${1//-/_}"
  [[ -n "${!variable}" ]] || die "--$1=... is missing: $2."
}

require_arguments() {
  ((${#arguments[@]})) || die "there is nothing to run: give the arguments of" \
    "mmjsd_jax.main behind --, such as -- --config=configs/polymnist.py."
}

need_tool() {
  [[ -n "$dry_run" ]] || command -v "$1" >/dev/null ||
    die "$1 is not installed. $2"
}

run() {
  if [[ -n "$dry_run" ]]; then quote "$@"; else "$@"; fi
}

feed() {
  local text="$1"
  shift
  if [[ -n "$dry_run" ]]; then
    printf "%s <<'END'\n%s\nEND\n" "$(quote "$@")" "$text"
  else
    "$@" <<<"$text"
  fi
}

# In single quotes where need be, which every shell understands.
quote() {
  local word line='' apostrophe="'\\''"
  for word in "$@"; do
    case "$word" in
      '' | *[!A-Za-z0-9_./:=,@%+-]*) word="'${word//\'/"$apostrophe"}'" ;;
    esac
    line+="${line:+ }$word"
  done
  printf '%s\n' "$line"
}
