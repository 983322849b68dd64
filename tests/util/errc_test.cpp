/// Magpie's error codes: their texts, and what they compare equal to.
#include <magpie/util/errc.hpp>

#include <gtest/gtest.h>

#include <cerrno>
#include <set>
#include <string>
#include <system_error>

namespace magpie::tests::errc_test {
namespace {

TEST(errc_test, compares_equal_to_the_standard_conditions) {
  EXPECT_EQ(make_error_code(errc::stopped), std::errc::operation_canceled);
  EXPECT_EQ(make_error_code(errc::aborted), std::errc::operation_canceled);
  EXPECT_EQ(make_error_code(errc::deadline), std::errc::timed_out);
  EXPECT_EQ(make_error_code(errc::unsupported), std::errc::not_supported);
}

TEST(errc_test, is_told_apart_from_the_kernels_codes) {
  EXPECT_NE(make_error_code(errc::stopped), errno_code(ECANCELED));
  EXPECT_NE(make_error_code(errc::deadline), errno_code(ETIMEDOUT));
  EXPECT_NE(make_error_code(errc::stopped), make_error_code(errc::aborted));
  EXPECT_EQ(errno_code(ETIMEDOUT), std::errc::timed_out);
}

TEST(errc_test, every_code_has_a_text_of_its_own) {
  std::set<std::string> texts;
  for (const errc code : {errc::stopped, errc::deadline, errc::aborted, errc::runtime_shutdown,
                          errc::unsupported, errc::closed, errc::refused}) {
    const std::error_code made = code;
    EXPECT_TRUE(made);
    EXPECT_STREQ(made.category().name(), "magpie");
    EXPECT_TRUE(texts.insert(made.message()).second) << made.message();
  }
  EXPECT_NE(std::error_code(4711, magpie_category()).message().find("4711"), std::string::npos);
}

}  // namespace
}  // namespace magpie::tests::errc_test
