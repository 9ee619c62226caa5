// Pages of HTML that need nothing beside themselves.
#pragma once

#include <string>
#include <string_view>

namespace tenon {

// The text as it stands in an element or in an attribute between double quotes.
std::string escaped_html(std::string_view text);

// A whole page: the title (as text) is its heading, too; `styles` are CSS beside what all pages
// have, `body` is HTML.
std::string html_page(std::string_view title, std::string_view styles, std::string_view body);

}  // namespace tenon
