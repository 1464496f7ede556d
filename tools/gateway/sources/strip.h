// SPDX-License-Identifier: Apache-2.0
//
// Strip: a text without what says nothing to its reader: transport headers, markup, quotations,
// signatures, encoded attachments, tracking links, empty lines. Made for whoever pays by the word.
//
// It is no inverse of anything: what is left is for reading, not for working on.
// Threads: a pure function.
#pragma once

#include <string>
#include <string_view>

namespace airstore::gateway {

// Nothing is taken out of what is not text: it is returned as it is.
std::string Strip(std::string_view text);

}  // namespace airstore::gateway
