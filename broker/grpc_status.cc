// SPDX-License-Identifier: Apache-2.0
#include "broker/grpc_status.h"

#include <algorithm>

#include "broker/grpc_gateway.h"
#include "broker/utf8_text.h"

namespace airstore::broker {
namespace {

// What a gateway says ends up on terminals and in logs.
std::string Printable(const std::string& text) {
  constexpr size_t kLongest = 300;
  std::string out;
  size_t length = std::min(text.size(), kLongest);
  // Not in the middle of a character.
  for (size_t i = 0; i < 3 && length < text.size() && length > 0 && (text[length] & 0xC0) == 0x80;
       ++i) {
    --length;
  }
  for (const char c : text.substr(0, length)) {
    const auto byte = static_cast<unsigned char>(c);
    out += byte < ' ' || byte == 0x7f ? ' ' : c;
  }
  return AsUtf8(out);
}

int CodeOf(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
    case grpc::StatusCode::ABORTED:
    case grpc::StatusCode::CANCELLED:
      return EAGAIN;
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
      return EACCES;
    case grpc::StatusCode::NOT_FOUND:
      return ENOENT;
    case grpc::StatusCode::FAILED_PRECONDITION:
      return ESTALE;
    case grpc::StatusCode::UNIMPLEMENTED:
      return ENOSYS;
    case grpc::StatusCode::INTERNAL:
      // A connection that was cut in the middle of a call, not an opinion of the gateway's.
      return status.error_message().find("RST_STREAM") != std::string::npos ? EAGAIN : EIO;
    default:
      return EIO;
  }
}

}  // namespace

Error ErrorOfStatus(const char* call, const grpc::Status& status) {
  return Error{CodeOf(status), std::string(call) + ": " + Printable(status.error_message())};
}

std::string PrintableStatus(const grpc::Status& status) {
  return Printable(status.error_message());
}

Failure FailureOfStatus(const std::string& address, const grpc::Status& status) {
  const std::string said = Printable(status.error_message());
  switch (status.error_code()) {
    case grpc::StatusCode::ALREADY_EXISTS:
      return {FailureKind::kExists, said.empty() ? "the name is taken" : said,
              "choose another name"};
    case grpc::StatusCode::NOT_FOUND:
      return {FailureKind::kNotFound, said.empty() ? "there is no such thing" : said, ""};
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::OUT_OF_RANGE:
      return {FailureKind::kUsage, said, ""};
    case grpc::StatusCode::FAILED_PRECONDITION:
      return {FailureKind::kBusy, said, ""};
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
      return {FailureKind::kPermission,
              "the gateway refused the token" + (said.empty() ? "" : ": " + said),
              "workspaces and tokens need the gateway's admin token"};
    default:
      return OpenFailure(Error{CodeOf(status), said}, address, "");
  }
}

Failure OpenFailure(const Error& error, const std::string& address, const std::string& workspace) {
  switch (error.code) {
    case EAGAIN:
      return {FailureKind::kUnreachable,
              "cannot reach the gateway at " + address +
                  (error.message.empty() ? "" : " (" + error.message + ")"),
              "check the address, and that the gateway runs"};
    case EACCES:
      return {FailureKind::kPermission,
              "the gateway refused the token" +
                  (error.message.empty() ? "" : " (" + error.message + ")"),
              "check that the token is for this workspace and was not revoked "
              "('airctl token list', 'airctl token create')"};
    case ENOENT:
      return {FailureKind::kNotFound,
              workspace.empty() ? "the token's workspace does not exist"
                                : "there is no workspace \"" + workspace + "\" at " + address,
              "'airctl workspace list' shows what there is"};
    case EPROTO:
    case ENOSYS:
      return {FailureKind::kInternal,
              "what answers at " + address + " does not speak a protocol of airstore" +
                  (error.message.empty() ? "" : " (" + error.message + ")"),
              "check the address and the gateway's version"};
    default:
      return {FailureKind::kInternal, "the gateway at " + address + " failed: " + error.ToString(),
              "look into the gateway's log"};
  }
}

}  // namespace airstore::broker
