// SPDX-License-Identifier: Apache-2.0
//
// Where the keys of an S3 service come from, as its other tools have it: the environment
// (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN), or a profile of a credentials file
// (AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials; AWS_PROFILE, else "default"). Never a
// command line.
//
// Threads: any; reads the environment.
// Fails: ENOENT, EACCES or EINVAL, saying where was looked.
#pragma once

#include <string>
#include <string_view>

#include "shm/base/result.h"
#include "tools/gateway/blocks/s3/sigv4.h"

namespace airstore::gateway {

// `file`, `profile`: as the configuration has them; when both are empty the environment comes
// first.
Result<S3Keys> FindS3Keys(const std::string& file, const std::string& profile);

// The keys of a profile in the text of a credentials file. ENOENT: there is no such profile.
Result<S3Keys> ParseS3Keys(std::string_view text, std::string_view profile);

}  // namespace airstore::gateway
