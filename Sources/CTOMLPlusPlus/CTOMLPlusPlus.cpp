#include "CTOMLPlusPlus.h"

#include <cstring>
#include <new>
#include <sstream>
#include <string>
#include <string_view>

#include <toml++/toml.h>

char *berth_toml_as_json(const char *text, size_t size, unsigned *line) {
    try {
        std::string result;
        *line = 0;
        try {
            std::ostringstream json;
            json << toml::json_formatter{toml::parse(std::string_view{text, size})};
            result = json.str();
        } catch (const toml::parse_error &error) {
            *line = error.source().begin.line;
            if (*line == 0) *line = 1;
            result = error.description();
        }
        return strdup(result.c_str());
    } catch (const std::bad_alloc &) {
        return nullptr;
    }
}
