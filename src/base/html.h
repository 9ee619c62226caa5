// Text in pages of HTML.
#pragma once

#include <string>
#include <string_view>

namespace tenon {

// The text as it stands in an element or in an attribute between double quotes.
std::string escaped_html(std::string_view text);

}  // namespace tenon
