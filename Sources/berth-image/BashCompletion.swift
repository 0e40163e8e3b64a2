/// What ArgumentParser's completion script for Bash lacks: words with colons, and paths where images are named.
enum BashCompletion {
    /// The names of images for completion, without the parts that people leave out.
    static let images =
        "berth images --quiet 2>/dev/null | sed -e 's,^docker.io/library/,,' -e 's,^docker.io/,,'"

    private static let last = "complete -o filenames -F _berth berth"

    static func extended(_ script: String) -> String {
        guard script.utf8.suffix(last.utf8.count).elementsEqual(last.utf8) else { return script }
        return script.dropLast(last.count) + wrapper
    }

    private static let wrapper = #"""
        # Bash ends words at colons, which names of images have. They are joined for _berth, and what is before the last
        # colon is left out of the answers.
        _berth_words() {
            local rest="${COMP_LINE:0:COMP_POINT}" trimmed word
            local -a words=()
            local -i index
            for ((index = 0; index <= COMP_CWORD; index++)); do
                word="${COMP_WORDS[index]}"
                trimmed="${rest#"${rest%%[![:space:]]*}"}"
                if [[ ${#words[@]} -gt 1 && "${trimmed}" == "${rest}" && ("${word}" == :* || "${words[-1]}" == *:) ]]; then
                    words[-1]+="${word}"
                else
                    words+=("${word}")
                fi
                rest="${trimmed#"${word}"}"
            done
            local current="${words[-1]}"
            local -a COMP_WORDS=("${words[@]}")
            local -i COMP_CWORD=$((${#words[@]} - 1))
            _berth "${1}" "${current}" "${words[-2]}"
            # A path can be an image.
            if [[ ${#COMPREPLY[@]} -eq 0 && "${current}" == [./~]* ]]; then
                local IFS=$'\n'
                COMPREPLY=($(compgen -f -- "${current}"))
            fi
            if [[ "${current}" == *:* && "${COMP_WORDBREAKS}" == *:* ]]; then
                COMPREPLY=("${COMPREPLY[@]#"${current%"${current##*:}"}"}")
            fi
        }

        complete -o filenames -F _berth_words berth
        """#
}
